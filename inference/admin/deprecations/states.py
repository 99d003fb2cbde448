"""How states look. They are derived here and now from dates; nothing stores them."""

import datetime as dt
from typing import Final

from django.utils.safestring import SafeString

from mlplatform.lib import clock, dates
from tenants.admin import formats
from tenants.deprecations import catalogue, rules
from tenants.deprecations.rules import State
from tenants.models import Brownout, DeprecationSchedule

_TONES: Final[dict[str, formats.Tone]] = {
    State.PREVIEW: "info",
    State.ACTIVE: "success",
    State.ANNOUNCED: "info",
    State.DEPRECATED: "warning",
    State.SUNSET: "danger",
    "planned": "neutral",
    "canceled": "neutral",
    "retired": "neutral",
}
_WORDS: Final = {"ready": "Ready", "needs_work": "Needs work", "": "Not rehearsed"}
_VERDICT_TONES: Final[dict[str, formats.Tone]] = {"ready": "success", "needs_work": "warning", "": "neutral"}


def badge(state: str, *, why: str = "") -> SafeString:
    """The state of a version or of a schedule."""
    return formats.badge(state.title(), _TONES[state], why=why)


def verdict(value: str) -> SafeString:
    """The verdict of a rehearsed migration."""
    return formats.badge(_WORDS.get(value, value), _VERDICT_TONES.get(value, "neutral"))


def state_of(row: DeprecationSchedule) -> str:
    """``canceled``, ``planned`` (not announced), or the state of its subject for all tenants."""
    if row.canceled_at is not None:
        return "canceled"
    # A subject is released before its end is announced, whenever that was.
    state = rules.state(released_at=row.announce_at, schedule=catalogue.dated(row), at=clock.now())
    return "planned" if state is State.PREVIEW else state


def brownout(row: Brownout, *, at: dt.datetime) -> SafeString:
    """Planned, running, over, or called off before it began."""
    if row.ends_at <= row.starts_at:
        return formats.badge("Called off", "neutral")
    if row.ends_at <= at:
        return formats.badge("Over", "neutral")
    return formats.badge("Running", "danger") if row.starts_at <= at else formats.badge("Planned", "info")


def date(moment: dt.datetime) -> SafeString:
    """The day, with the exact moment and how far away it is on the pointer."""
    return SafeString(
        f'<time datetime="{moment.isoformat()}" title="{dates.moment(moment)}, {formats.words(moment)}">'
        f"{dates.day(moment)}</time>"
    )
