"""What the portal shows a tenant of versions that end: one banner a schedule, the most pressing first."""

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.conf import settings

from billing.metering import version_use
from inference.deprecations.notices import letters
from inference.registry import live
from mlplatform.lib import clock
from tenants.deprecations import catalogue, rules
from tenants.deprecations.rules import Schedule, Window
from tenants.models import Audience, DeprecationSchedule

_WARNING: Final = dt.timedelta(days=30)
_DANGER: Final = dt.timedelta(days=7)


class Severity(StrEnum):
    """How near the end is, for a tenant that still uses the subject; for others it is never more than information."""

    INFO = "info"
    WARNING = "warning"
    DANGER = "danger"


_ORDER: Final = [Severity.DANGER, Severity.WARNING, Severity.INFO]


@dataclass(frozen=True, slots=True)
class Banner:
    """One banner. ``guide`` is a whole address; ``sunset_at`` is the tenant's own; ``brownout`` is the running or next one.

    ``still_used`` says that the tenant called it in the last 30 days.
    """

    schedule_id: int
    severity: Severity
    title: str
    text: str
    guide: str
    deprecated_at: dt.datetime
    sunset_at: dt.datetime
    brownout: Window | None
    still_used: bool


def banners_of(*, tenant_id: int) -> list[Banner]:
    """The banners of this moment: of what was announced, and, while the tenant still calls it, of what has ended."""
    now = clock.now()
    known = catalogue.current()
    schedules = [version.schedule for version in known.api_versions.values() if version.schedule is not None]
    seen = [one for one in known.models.values() if live.is_visible_to(one.subject, tenant_id=tenant_id)]
    announced = [schedule for schedule in (*schedules, *seen) if schedule.announced(now)]
    only_users = set(
        DeprecationSchedule.objects.filter(
            pk__in=[schedule.id for schedule in announced], audience=Audience.USERS
        ).values_list("pk", flat=True)
    )
    found = []
    for schedule in announced:
        rows = version_use.of_subject(schedule.kind, schedule.subject).filter(tenant_id=tenant_id, subject_calls__gt=0)
        used = rows.exists()
        if used or (schedule.id not in only_users and now < schedule.sunset_for(tenant_id)):
            found.append(_banner(schedule, tenant_id, now, used=used))
    return sorted(found, key=lambda banner: (_ORDER.index(banner.severity), banner.sunset_at, banner.schedule_id))


def _banner(schedule: Schedule, tenant_id: int, now: dt.datetime, *, used: bool) -> Banner:
    sunset = schedule.sunset_for(tenant_id)
    running = rules.brownout(schedule, at=now, tenant_id=tenant_id) if now < sunset else None
    upcoming = next(iter(rules.planned(schedule, at=now)), None) if now < sunset else None
    name = letters.named(schedule)
    title = f"{name[0].upper()}{name[1:]} " + (
        f"ended on {letters.day(sunset)}" if now >= sunset else f"ends on {letters.day(sunset)}"
    )
    return Banner(
        schedule_id=schedule.id,
        severity=_severity(sunset - now, running, used=used),
        title=title,
        text=_text(schedule, sunset, now, running, used=used),
        guide=f"{settings.BASE_URL}{schedule.guide}",
        deprecated_at=schedule.deprecate_at,
        sunset_at=sunset,
        brownout=running or upcoming,
        still_used=used,
    )


def _severity(left: dt.timedelta, running: Window | None, *, used: bool) -> Severity:
    if not used:
        return Severity.INFO
    if running is not None or left <= _DANGER:
        return Severity.DANGER
    return Severity.WARNING if left <= _WARNING else Severity.INFO


def _text(schedule: Schedule, sunset: dt.datetime, now: dt.datetime, running: Window | None, *, used: bool) -> str:
    if now >= sunset:
        return f"Calls get 410 Gone. Use {schedule.successor}."
    if not used:
        return f"You did not use it in the last 30 days. Its successor is {schedule.successor}."
    if running is not None:
        whose = "rehearsed by your tenant" if running.tenant_id is not None else "planned for all tenants"
        return (
            f"In a brownout, {whose}, {running.share} % of its calls fail until "
            f"{running.ends_at.astimezone(dt.UTC):%H:%M} UTC. Use {schedule.successor}."
        )
    return f"You still call it, and it ends {letters.left(sunset - now)}. Use {schedule.successor}."
