"""What a notice says: subject, text and HTML, made of a schedule, a tenant and a moment."""

import datetime as dt
import logging
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.db.models import Max, Sum
from django.template.loader import render_to_string

from billing.metering import version_use
from inference.deprecations.guides import rewriting
from inference.deprecations.guides.rewriting import Rewritten
from inference.deprecations.notices.moments import Moment, MomentKind
from mlplatform.lib import clock
from mlplatform.lib.one_line import one_line
from tenants.deprecations import rules
from tenants.deprecations.rules import Schedule, Window
from tenants.models import ApiKey, SubjectKind, Tenant

logger = logging.getLogger(__name__)

_DAY_S: Final = 86_400
_HOUR_S: Final = 3600
_SUBJECT_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Letter:
    """An e-mail's subject (one line) and its two forms."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What one key did with the subject in the last 30 days. ``name`` is for people; a deleted key has its id."""

    name: str
    calls: int
    last_call_at: dt.datetime

    @property
    def counted(self) -> str:
        """``1 call`` or ``48,211 calls``."""
        return f"{self.calls:,} call{'' if self.calls == 1 else 's'}"


def compose(*, schedule: Schedule, reason: str, tenant: Tenant, moment: Moment, whole: bool = False) -> Letter:
    """The notice of a moment, as of now. With ``whole`` it quotes the tenant's own call, if that was kept whole."""
    now = clock.now()
    sunset = schedule.sunset_for(tenant.pk)
    keys = uses(schedule, tenant)
    context = _facts(schedule, tenant) | {
        "kind": moment.kind.value,
        "reason": reason,
        "left": left(sunset - now),
        "deprecated_now": schedule.deprecate_at <= now,
        "keys": keys,
        "times": _times(sum(key.calls for key in keys)),
        "used": bool(keys),
        "rewritten": _rewritten(schedule, tenant, whole=whole) if keys else None,
        "window": moment.window,
        "window_runs": moment.window is not None and moment.window.starts_at <= now,
        "span": span(moment.window) if moment.window is not None else "",
        "planned": [(span(window), window.share) for window in rules.planned(schedule, at=now)],
    }
    return _letter(_subject(schedule, sunset, moment, now), context)


def compose_message(*, schedule: Schedule, tenant: Tenant, subject: str, text: str, signed: str) -> Letter:
    """What staff write to tenants of a schedule; ``text`` is plain, with empty lines between paragraphs."""
    context = _facts(schedule, tenant) | {"kind": MomentKind.MESSAGE.value, "message": text.strip(), "signed": signed}
    return _letter(subject, context)


def uses(schedule: Schedule, tenant: Tenant) -> list[KeyUse]:
    """With which keys the tenant used the subject in the last 30 days, the busiest first."""
    rows = list(
        version_use.of_subject(schedule.kind, schedule.subject)
        .filter(tenant=tenant, subject_calls__gt=0)
        .order_by()
        .values("key_uid")
        .annotate(total=Sum("subject_calls"), last=Max("last_call_at"))
    )
    wanted = [row["key_uid"] for row in rows]
    names = {
        key.uid: key.name for key in ApiKey.objects.filter(tenant=tenant, uid__in=wanted).prefetch_related("secrets")
    }
    found = [KeyUse(one_line(names.get(row["key_uid"], row["key_uid"])), row["total"], row["last"]) for row in rows]
    return sorted(found, key=lambda use: -use.calls)


def named(schedule: Schedule) -> str:
    """``API version v1`` or ``model version sentiment@1.0.0``."""
    return f"{'API version' if schedule.kind == SubjectKind.API_VERSION else 'model version'} {schedule.subject}"


def left(time: dt.timedelta) -> str:
    """``in 30 days``, ``in 1 day``, ``in 5 hours``: to the nearest, so that a minute late is no day less."""
    seconds = time.total_seconds()
    number, unit = (
        (round(seconds / _DAY_S), "day") if seconds > 0.75 * _DAY_S else (max(round(seconds / _HOUR_S), 1), "hour")
    )
    return f"in {number} {unit}{'' if number == 1 else 's'}"


def day(moment: dt.datetime) -> str:
    """``30 June 2027``, in UTC."""
    return f"{moment.astimezone(dt.UTC):%-d %B %Y}"


def span(window: Window) -> str:
    """``14 April 2027, 09:00 to 10:00 UTC``."""
    begins, ends = (at.astimezone(dt.UTC) for at in (window.starts_at, window.ends_at))
    until = f"{ends:%H:%M}" if begins.date() == ends.date() else f"{day(ends)}, {ends:%H:%M}"
    return f"{day(begins)}, {begins:%H:%M} to {until} UTC"


def _times(calls: int) -> str:
    return f"{calls:,} time{'' if calls == 1 else 's'}"


def _subject(schedule: Schedule, sunset: dt.datetime, moment: Moment, now: dt.datetime) -> str:
    name = named(schedule)
    name = name[0].upper() + name[1:]
    if moment.window is not None:
        return f"{name}: brownout on {span(moment.window)}"
    if moment.kind is MomentKind.COUNTDOWN:
        return f"{name} ends {left(sunset - now)}, on {day(sunset)}"
    return f"{name} ends on {day(sunset)}"


def _facts(schedule: Schedule, tenant: Tenant) -> dict[str, Any]:
    sunset = schedule.sunset_for(tenant.pk)
    return {
        "tenant": tenant,
        "tenant_name": one_line(tenant.name),
        "schedule": schedule,
        "named": named(schedule),
        "is_model": schedule.kind == SubjectKind.MODEL_VERSION,
        "sunset": sunset,
        "extended": sunset > schedule.sunset_at,
        "guide": f"{settings.BASE_URL}{schedule.guide}",
        "base_url": settings.BASE_URL,
        "key_variable": rewriting.KEY,
    }


def _rewritten(schedule: Schedule, tenant: Tenant, *, whole: bool) -> Rewritten | None:
    try:
        return rewriting.rewritten(tenant_id=tenant.pk, schedule=schedule, whole=whole)
    except Exception:
        # A strange sample must not keep the notice itself from being told.
        logger.exception("the latest call of tenant %s for %s could not be rewritten", tenant.pk, schedule.subject)
        return None


def _letter(subject: str, context: dict[str, Any]) -> Letter:
    subject = one_line(subject)[:_SUBJECT_CHARS]
    context = context | {"subject": subject}
    lines = render_to_string("email/deprecation_notice.txt", context).splitlines()
    return Letter(
        subject=subject,
        text=_tidy([line.rstrip() for line in lines]),
        html=render_to_string("email/deprecation_notice.html", context).strip() + "\n",
    )


def _tidy(lines: list[str]) -> str:
    """Template tags leave empty lines; people want one between paragraphs."""
    kept = [line for index, line in enumerate(lines) if line or (index and lines[index - 1])]
    return "\n".join(kept).strip() + "\n"
