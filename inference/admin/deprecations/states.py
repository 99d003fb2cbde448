"""How states look. They are derived here and now from dates; nothing stores them."""

import datetime as dt
from typing import Final

from django.utils.safestring import SafeString

from mlplatform.lib import clock, dates
from tenants.admin import formats
from tenants.deprecations.rules import State
from tenants.models import DeprecationSchedule

_TONES: Final[dict[str, formats.Tone]] = {
    State.PREVIEW: "info",
    State.ACTIVE: "success",
    State.DEPRECATED: "warning",
    State.SUNSET: "danger",
    "planned": "neutral",
    "announced": "info",
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


def state_of(row: DeprecationSchedule, *, at: dt.datetime | None = None) -> str:
    """``canceled``, ``planned`` (not announced), ``announced``, ``deprecated`` or ``sunset``; for all tenants."""
    moment = at or clock.now()
    if row.canceled_at is not None:
        return "canceled"
    steps = (("sunset", row.sunset_at), ("deprecated", row.deprecate_at), ("announced", row.announce_at))
    return next((name for name, begins in steps if moment >= begins), "planned")


def date(moment: dt.datetime) -> SafeString:
    """The day, with the exact moment and how far away it is on the pointer."""
    return SafeString(
        f'<time datetime="{moment.isoformat()}" title="{dates.moment(moment)}, {formats.words(moment)}">'
        f"{dates.day(moment)}</time>"
    )
