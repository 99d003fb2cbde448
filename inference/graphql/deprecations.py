"""What an announced end says: of a model version, from the schedules in memory; its reason from the schedule's row."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import graphene

from mlplatform.lib import clock
from mlplatform.lib.deferred import Loader
from tenants.deprecations import catalogue
from tenants.models import DeprecationSchedule


@dataclass(frozen=True, slots=True)
class VersionDeprecation:
    """An announced end as the tenant sees it: ``sunset_at`` is its own."""

    schedule_id: int
    deprecated_at: dt.datetime
    sunset_at: dt.datetime
    successor: str
    guide: str


class ModelVersionDeprecation(graphene.ObjectType):
    """When a model version ends, and what to use instead."""

    class Meta:
        possible_types = (VersionDeprecation,)

    deprecated_at = graphene.DateTime(required=True, description="From then on answers carry the header Deprecation.")
    sunset_at = graphene.DateTime(required=True, description="From then on calls are refused, with the code GONE.")
    successor = graphene.String(required=True)
    guide = graphene.String(required=True, description="The path of the migration guide.")
    reason = graphene.String()

    @staticmethod
    def resolve_reason(root: VersionDeprecation, info: graphene.ResolveInfo) -> Any:
        return info.context.loader(ReasonLoader).load(root.schedule_id)


class ReasonLoader(Loader[int, str]):
    """Why something ends, by the schedule's primary key."""

    def fetch(self, keys: Sequence[int]) -> Mapping[int, str]:
        return dict(DeprecationSchedule.objects.filter(pk__in=keys).values_list("pk", "reason"))


def deprecation_of(reference: str, *, tenant_id: int) -> VersionDeprecation | None:
    """The announced end of a model version, ``name@version``."""
    schedule = catalogue.current().models.get(reference)
    if schedule is None or not schedule.announced(clock.now()):
        return None
    return VersionDeprecation(
        schedule_id=schedule.id,
        deprecated_at=schedule.deprecate_at,
        sunset_at=schedule.sunset_for(tenant_id),
        successor=schedule.successor,
        guide=schedule.guide,
    )
