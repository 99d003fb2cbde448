"""Fields that end together with an API version of REST: what they say of it, and when they stop answering.

The dates are read from the schedules in memory whenever they are asked for, so introspection, the printed schema, the
headers of answers and refusals follow a schedule within a second of its change.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import graphene
from graphql import GraphQLField, GraphQLObjectType, GraphQLSchema

from mlplatform.lib import clock
from tenants.deprecations import catalogue, rules
from tenants.deprecations.rules import Schedule
from tenants.graphql.call import GraphQLCall

KIND: Final = "graphql_field"


@dataclass(frozen=True, slots=True)
class FieldDeprecation:
    """``field`` such as ``ModelPrediction.confidence`` ends with the API version; ``use`` is what to ask for instead."""

    field: str
    api_version: str
    use: str

    def schedule(self) -> Schedule | None:
        """The schedule of the API version in the words of the field, once it is announced."""
        known = catalogue.current().api_versions.get(self.api_version)
        if known is None or known.schedule is None or not known.schedule.announced(clock.now()):
            return None
        return replace(known.schedule, kind=KIND, subject=self.field, successor=self.use)

    def reason(self) -> str | None:
        """What introspection and the printed schema say; None until the field is deprecated."""
        schedule = self.schedule()
        if schedule is None or clock.now() < schedule.deprecate_at:
            return None
        return (
            f"Deprecated since {schedule.deprecate_at:%Y-%m-%d}, ends {schedule.sunset_at:%Y-%m-%d}; use {self.use}. "
            f"Guide: {schedule.guide}"
        )

    def judge(self, call: GraphQLCall) -> None:
        """Remember what the answer must say. Raises ``rules.Ended`` after the tenant's sunset and in a brownout."""
        schedule = self.schedule()
        if schedule is None:
            return
        deprecation = rules.judge(
            schedule,
            at=clock.now(),
            tenant_id=call.key.tenant_id,
            call_id=call.request_id,
            field=self.field.partition(".")[2],
        )
        if deprecation is not None and deprecation not in call.deprecations:
            call.deprecations.append(deprecation)


class DeprecatedField(graphene.Field):
    """A field that ends as its :class:`FieldDeprecation` says; it is judged before its resolver runs."""

    def __init__(self, type_: Any, *, ends: FieldDeprecation, **options: Any) -> None:
        super().__init__(type_, **options)
        self.ends = ends

    def wrap_resolve(self, parent_resolver: Callable[..., Any]) -> Callable[..., Any]:
        resolve = super().wrap_resolve(parent_resolver)

        def judged(root: Any, info: graphene.ResolveInfo, **arguments: Any) -> Any:
            self.ends.judge(info.context)
            return resolve(root, info, **arguments)

        return judged


class _LivingField(GraphQLField):
    """A field of the built schema whose deprecation reason is asked for, not kept."""

    ends: FieldDeprecation

    @property
    def deprecation_reason(self) -> str | None:
        return self.ends.reason()

    @deprecation_reason.setter
    def deprecation_reason(self, value: str | None) -> None: ...


def bring_to_life(schema: GraphQLSchema) -> None:
    """Let every :class:`DeprecatedField` of a schema that graphene built tell its dates. Raises ValueError for a wrong name."""
    for type_ in schema.type_map.values():
        graphene_type = getattr(type_, "graphene_type", None)
        if not isinstance(type_, GraphQLObjectType) or graphene_type is None:
            continue
        for mounted in graphene_type._meta.fields.values():
            if not isinstance(mounted, DeprecatedField):
                continue
            owner, _, name = mounted.ends.field.partition(".")
            if owner != type_.name or name not in type_.fields:
                raise ValueError(f"{type_.name} has no field {mounted.ends.field}")
            living = _LivingField(**type_.fields[name].to_kwargs())
            living.ends = mounted.ends
            type_.fields[name] = living
