"""What of all that ends concerns one tenant: its own dates, its own use, its brownouts and its rehearsal."""

import datetime as dt
from dataclasses import dataclass

from django.db.models import Max, QuerySet, Sum

from billing.metering import version_use
from inference.deprecations.rehearsals import jobs as rehearsal_jobs
from inference.models import Rehearsal
from inference.registry import live
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.deprecations import catalogue, rules
from tenants.deprecations.rules import Schedule, State, Window
from tenants.models import Audience, DeprecationSchedule


@dataclass(frozen=True, slots=True)
class Concern:
    """An announced schedule as one tenant sees it.

    ``sunset_at`` is the tenant's own, with its extension. ``calls`` are those of the last 30 days. ``brownouts`` are those
    for all and the tenant's own that are not over.
    """

    schedule: Schedule
    reason: str
    state: State
    sunset_at: dt.datetime
    calls: int
    last_call_at: dt.datetime | None
    brownouts: tuple[Window, ...]
    rehearsal: Rehearsal | None
    verdict: str


def of_tenant(*, tenant_id: int) -> list[Concern]:
    """Every announced schedule that concerns the tenant, the one that ends first at the front."""
    found = (_seen_by(row, tenant_id) for row in _announced())
    return sorted((one for one in found if one is not None), key=lambda one: one.sunset_at)


def one(*, schedule_id: int, tenant_id: int) -> Concern:
    """One of them. Raises NOT_FOUND, whether it is unannounced, canceled, of others' concern, or no schedule at all."""
    row = _announced().filter(pk=schedule_id).first()
    found = _seen_by(row, tenant_id) if row is not None else None
    if found is None:
        raise PlatformError(ErrorKind.NOT_FOUND, "There is no such deprecation.")
    return found


def _announced() -> QuerySet[DeprecationSchedule]:
    rows = DeprecationSchedule.objects.filter(canceled_at__isnull=True, announce_at__lte=clock.now())
    return rows.prefetch_related("brownouts", "extensions")


def _seen_by(row: DeprecationSchedule, tenant_id: int) -> Concern | None:
    """None where only users of the subject are told and the tenant is none of them, and for what is another's private model."""
    if not live.is_visible_to(row.subject, tenant_id=tenant_id):
        return None
    schedule, now = catalogue.frozen(row), clock.now()
    use = (
        version_use.of_subject(schedule.kind, schedule.subject)
        .filter(tenant_id=tenant_id, subject_calls__gt=0)
        .aggregate(total=Sum("subject_calls", default=0), last=Max("last_call_at"))
    )
    if row.audience == Audience.USERS and not use["total"] and tenant_id not in schedule.extensions:
        return None
    return Concern(
        schedule=schedule,
        reason=row.reason,
        state=_state(schedule, now, tenant_id),
        sunset_at=schedule.sunset_for(tenant_id),
        calls=use["total"],
        last_call_at=use["last"],
        brownouts=tuple(
            window for window in schedule.brownouts if window.ends_at > now and window.tenant_id in {None, tenant_id}
        ),
        rehearsal=rehearsal_jobs.latest(schedule_id=row.pk, tenant_id=tenant_id),
        verdict=rehearsal_jobs.verdict(schedule_id=row.pk, tenant_id=tenant_id),
    )


def _state(schedule: Schedule, now: dt.datetime, tenant_id: int) -> State:
    known = catalogue.current().api_versions.get(schedule.subject)
    if known is not None:
        return rules.state(released_at=known.released_at, schedule=schedule, at=now, tenant_id=tenant_id)
    # A model version answers since before its end was announced.
    return rules.state(released_at=schedule.announce_at, schedule=schedule, at=now, tenant_id=tenant_id)
