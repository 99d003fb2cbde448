"""What staff and tenant admins do to schedules: each change is validated, published to every process, and audited."""

import datetime as dt
from typing import Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants.deprecations import catalogue, rules
from tenants.models import Brownout, DeprecationSchedule, Extension, SubjectKind, Tenant, User

LONGEST_REHEARSAL_MIN: Final = 120
SHORTEST_NOTICE: Final = dt.timedelta(minutes=15)
"""The clock tells of a brownout within a minute, and mail servers take their time."""


def validate(row: DeprecationSchedule) -> None:
    """Raises ValidationError that names each field which is wrong: dates, six months, successor, guide.

    Whether a model version answers is known only upstairs (``inference/deprecations/subjects.py``), which asks this, too.
    """
    problems: dict[str, str] = {}
    if row.announce_at > row.deprecate_at:
        problems["deprecate_at"] = "The deprecation comes after the announcement."
    if row.deprecate_at >= row.sunset_at:
        problems["sunset_at"] = "The sunset comes after the deprecation."
    elif row.sunset_at - row.deprecate_at < rules.MAINTAINED and not row.short_notice_reason.strip():
        problems["short_notice_reason"] = (
            "Less than six months lie between deprecation and sunset: say why, or choose a later sunset."
        )
    if not row.guide.strip():
        problems["guide"] = "Write how to migrate; the draft is a start."
    if not row.reason.strip():
        problems["reason"] = "Customers want to know why."
    if row.kind == SubjectKind.API_VERSION:
        problems |= _api_version_problems(row)
    if problems:
        raise ValidationError(problems)


def _api_version_problems(row: DeprecationSchedule) -> dict[str, str]:
    known = catalogue.current().api_versions
    if row.subject not in known:
        return {"subject": f"There is no API version {row.subject}; there are {', '.join(known)}."}
    if row.subject == settings.DEFAULT_API_VERSION:
        return {"subject": f"{row.subject} is the platform's default; change DEFAULT_API_VERSION first."}
    successor = known.get(row.successor)
    newer = [*known][[*known].index(row.subject) + 1 :]
    if successor is None or row.successor not in newer:
        return {"successor": f"The successor is a newer API version: {', '.join(newer) or 'there is none yet'}."}
    if successor.state(at=row.sunset_at) not in rules.RECOMMENDABLE:
        return {"successor": f"{row.successor} must be active when {row.subject} ends, without an end of its own."}
    return {}


@transaction.atomic
def save(row: DeprecationSchedule, *, by: User | None = None) -> DeprecationSchedule:
    """Store a new or changed schedule. Raises ValidationError."""
    row.clean_fields(exclude=["created_by"])
    validate(row)
    only_forward(row)
    row.full_clean(exclude=["created_by"])
    if row._state.adding:
        row.created_by = by
    row.save()
    catalogue.changed()
    return row


def only_forward(row: DeprecationSchedule) -> None:
    """What has come to pass stays: a state never goes back because dates were changed. Raises ValidationError."""
    before = DeprecationSchedule.objects.filter(pk=row.pk).first()
    if before is None:
        return
    now = clock.now()
    passed = {
        name: "This moment has passed, and what it did cannot be undone by moving it."
        for name in ("announce_at", "deprecate_at", "sunset_at")
        if getattr(before, name) <= now and getattr(row, name) != getattr(before, name)
    }
    if passed:
        raise ValidationError(passed)


@transaction.atomic
def cancel(row: DeprecationSchedule) -> None:
    """Call the end off: from now on the subject is active again. Raises CONFLICT after its sunset."""
    if row.sunset_at <= clock.now():
        raise PlatformError(ErrorKind.CONFLICT, f"{row.subject} has ended; what has come to pass cannot be called off.")
    row.canceled_at = clock.now()
    row.save(update_fields=["canceled_at"])
    catalogue.changed()


@transaction.atomic
def plan_brownout(
    *,
    schedule: DeprecationSchedule,
    starts_at: dt.datetime,
    ends_at: dt.datetime,
    share: int,
    by: User | None,
) -> Brownout:
    """A window in which ``share`` percent of all tenants' calls fail. Raises ValidationError."""
    row = Brownout(schedule=schedule, starts_at=starts_at, ends_at=ends_at, share=share, created_by=by)
    validate_brownout(row)
    row.full_clean()
    row.save()
    catalogue.changed()
    return row


def validate_brownout(row: Brownout) -> None:
    """Raises ValidationError that names the field: a window lies between deprecation and sunset, and in the future."""
    if row.ends_at <= clock.now():
        raise ValidationError({"ends_at": "A brownout lies in the future."})
    if row.ends_at <= row.starts_at:
        raise ValidationError({"ends_at": "A brownout ends after it starts."})
    if row.starts_at < row.schedule.deprecate_at:
        raise ValidationError({"starts_at": "A brownout needs a deprecated version; start it after the deprecation."})
    if row.ends_at > row.schedule.sunset_at:
        raise ValidationError({"ends_at": "A brownout ends before the sunset."})


def check_notice(starts_at: dt.datetime, *, confirmed: bool) -> None:
    """Raises ValidationError where a brownout comes too soon after its letter: less than ``BROWNOUT_NOTICE_H`` hours need a
    confirmation, and nothing allows less than a quarter of an hour."""
    now = clock.now()
    if starts_at < now + SHORTEST_NOTICE:
        least = SHORTEST_NOTICE // dt.timedelta(minutes=1)
        raise ValidationError(
            {"starts_at": f"Start it at least {least} minutes from now: the letter leaves before it."}
        )
    usual = dt.timedelta(hours=settings.BROWNOUT_NOTICE_H)
    # Forms know whole minutes.
    if starts_at < now.replace(second=0, microsecond=0) + usual and not confirmed:
        told = f"Tenants have less than {settings.BROWNOUT_NOTICE_H:g} hours to read of it: confirm, or start later."
        raise ValidationError({"short_notice": told})


@transaction.atomic
def rehearse_brownout(
    *, schedule_id: int, tenant: Tenant, minutes: int, share: int, by: User | None = None
) -> Brownout:
    """Let a share of one tenant's own calls fail for some minutes from now. Raises NOT_FOUND, INVALID_INPUT or CONFLICT.

    A rehearsal that runs is replaced.
    """
    if not 1 <= minutes <= LONGEST_REHEARSAL_MIN:
        raise invalid("minutes", f"A rehearsal lasts from 1 to {LONGEST_REHEARSAL_MIN} minutes.")
    if not 1 <= share <= 100:
        raise invalid("share", "The share of failing calls is from 1 to 100 percent.")
    schedule = announced(schedule_id)
    now = clock.now()
    if now >= catalogue.frozen(schedule).sunset_for(tenant.pk):
        raise PlatformError(ErrorKind.CONFLICT, f"{schedule.subject} has ended; there is nothing to rehearse.")
    _end_rehearsals(schedule, tenant, now)
    row = Brownout.objects.create(
        schedule=schedule,
        tenant=tenant,
        starts_at=now,
        ends_at=now + dt.timedelta(minutes=minutes),
        share=share,
        created_by=by,
    )
    catalogue.changed()
    return row


@transaction.atomic
def stop_rehearsal(*, schedule_id: int, tenant: Tenant) -> int:
    """End the tenant's own brownout at once; gives how many were ended. Raises NOT_FOUND."""
    ended = _end_rehearsals(announced(schedule_id), tenant, clock.now())
    catalogue.changed()
    return ended


def _end_rehearsals(schedule: DeprecationSchedule, tenant: Tenant, now: dt.datetime) -> int:
    running = list(schedule.brownouts.filter(tenant=tenant, ends_at__gt=now))
    for row in running:
        row.ends_at = now
        row.save(update_fields=["ends_at"])
    return len(running)


def announced(schedule_id: int) -> DeprecationSchedule:
    """A schedule that customers may know of. Raises NOT_FOUND for one that is not announced, or was canceled."""
    row = DeprecationSchedule.objects.filter(
        pk=schedule_id, canceled_at__isnull=True, announce_at__lte=clock.now()
    ).first()
    if row is None:
        raise PlatformError(ErrorKind.NOT_FOUND, "There is no such deprecation.")
    return row


@transaction.atomic
def stop_brownout(row: Brownout) -> None:
    """End a brownout now, or never let it begin."""
    now = clock.now()
    row.ends_at = min(row.ends_at, max(now, row.starts_at))
    row.save(update_fields=["ends_at"])
    catalogue.changed()


@transaction.atomic
def grant_extension(
    *, schedule: DeprecationSchedule, tenant: Tenant, until: dt.datetime, reason: str, approved_by: User
) -> Extension:
    """A later sunset for one tenant; changes the one it has. Raises ValidationError."""
    row = Extension.objects.filter(schedule=schedule, tenant=tenant).first() or Extension(
        schedule=schedule, tenant=tenant
    )
    row.until, row.reason, row.approved_by = until, reason, approved_by
    validate_extension(row)
    row.full_clean()
    row.save()
    catalogue.changed()
    return row


def validate_extension(row: Extension) -> None:
    """Raises ValidationError: an extension only postpones."""
    if row.until <= row.schedule.sunset_at:
        raise ValidationError({"until": f"An extension is later than the sunset, {row.schedule.sunset_at:%Y-%m-%d}."})
    if not row.reason.strip():
        raise ValidationError({"reason": "Say why; the next person will ask."})
