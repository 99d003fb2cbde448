"""How values look in lists: badges, moments as ages, numbers with thin marks. All output is escaped."""

import datetime as dt
from typing import Final, Literal

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mlplatform.lib import clock, dates, prose

Tone = Literal["success", "warning", "danger", "info", "neutral"]
_STEPS: Final = (
    (86_400 * 60, 86_400 * 30, "month"),
    (86_400 * 2, 86_400, "day"),
    (7_200, 3_600, "hour"),
    (120, 60, "minute"),
)


def badge(text: str, tone: Tone, *, why: str = "") -> SafeString:
    """A small coloured label; ``why`` is shown when the pointer rests on it."""
    return SafeString(render_to_string("unfold/helpers/label.html", {"text": text, "type": tone, "label_title": why}))


def age(moment: dt.datetime | None, *, never: str = "never") -> SafeString:
    """A past moment as an age, with the moment itself below it."""
    if moment is None:
        return format_html('<span class="p-subtle">{}</span>', never)
    return format_html(
        '<time datetime="{}">{}<small class="p-below">{}</small></time>',
        moment.isoformat(),
        words(moment),
        dates.moment(moment),
    )


def words(moment: dt.datetime) -> str:
    """Such as ``3 hours ago`` or ``in 12 days``; below two minutes ``just now`` or ``in a moment``."""
    seconds = (clock.now() - moment).total_seconds()
    for at_least, length, name in _STEPS:
        if abs(seconds) >= at_least:
            count = int(abs(seconds) // length)
            return f"{count} {name}s ago" if seconds > 0 else f"in {count} {name}s"
    return "just now" if seconds >= 0 else "in a moment"


def note(text: str) -> SafeString:
    """A remark below a value: its first two lines, and all of it on the pointer."""
    return format_html('<span class="p-note p-clamp" title="{}">{}</span>', prose.plain(text), prose.html(text))


def code(text: str, *, wrap: bool = False) -> SafeString:
    """An identifier in a fixed-width face; ``wrap`` lets a long one take several lines on a narrow screen."""
    return format_html('<code class="p-code{}">{}</code>', " p-wrap" if wrap else "", text)


def number(value: int | None) -> SafeString:
    """A whole number with thousands marks, set so that columns line up."""
    return format_html('<span class="p-number">{}</span>', f"{value or 0:,}")


def share(part: int, whole: int) -> str:
    """A share in percent, such as ``63.5 %``; a dash of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "–"
