"""The cards along the top of the admin's start page. Each leads to the page that knows more, for those who may see it."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from django.urls import reverse

from inference.fleet import workers
from mlplatform import traffic_page
from mlplatform.lib import redis
from mlplatform.observability import traffic
from tenants.admin import formats
from tenants.models import User

T = TypeVar("T")

UNKNOWN: Final = "unknown"
_AWAY: Final = "The state Redis does not answer"
BAD_RATE: Final = 0.01
"""Share of failed calls from which the card is red; from a tenth of it on it is orange."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number on a card: ``note`` explains it, ``tone`` colours it when it is bad."""

    title: str
    value: str
    note: str
    icon: str
    tone: str = ""
    link: str = ""


def of_traffic() -> list[Figure]:
    """How the calls of today ended. Planned brownouts stand apart, and only on a day that has one."""
    page = traffic_page.address()
    found = known(traffic.today)
    if found is None:
        return [
            Figure("Requests today", UNKNOWN, _AWAY, "swap_vert", "danger", page),
            Figure("Failed", UNKNOWN, _AWAY, "error", "danger", page),
        ]
    total = found.total
    rate = total.error_rate
    tone = "danger" if rate >= BAD_RATE else "warning" if rate > BAD_RATE / 10 else ""

    def card(title: str, number: int, note: str, icon: str, tone: str = "") -> Figure:
        return Figure(title, f"{number:,}", f"{formats.share(number, total.requests)} {note}", icon, tone, page)

    cards = [
        Figure("Requests today", f"{total.requests:,}", "all protocols, UTC", "swap_vert", link=page),
        card("Answered", total.answered, "(2xx)", "check_circle"),
        card("Refused", total.refused, "(other 4xx)", "block"),
        card("Over a limit", total.over_limit, "(429)", "speed"),
        Figure("Failed", f"{total.failed:,}", f"{100 * rate:.2f} % (5xx)", "error", tone, page),
    ]
    if total.brownouts:
        cards.append(card("Brownouts", total.brownouts, "(503, planned)", "event_busy"))
    return cards


def of_units(days: dict[dt.date, int]) -> Figure:
    """Units of today, beside those of yesterday."""
    today, yesterday = list(days.values())[-1], list(days.values())[-2]
    day = list(days)[-1].isoformat()
    link = f"{reverse('admin:billing_usagerollup_changelist')}?day_from={day}&day_to={day}"
    return Figure("Units today", f"{today:,}", f"{yesterday:,} yesterday", "toll", link=link)


def of_fleet(user: User) -> list[Figure]:
    """What waits for workers, and how many there are."""
    page = reverse("admin:inference_mlmodel_workers") if user.has_perm("inference.view_mlmodel") else ""
    return [_queues(page), _workers(page)]


def known(ask: Callable[[], T]) -> T | None:
    """The answer of Redis, or None when it gives none: the page is shown without it."""
    try:
        return ask()
    except redis.FAILURES:
        return None


def _queues(page: str) -> Figure:
    depths = known(_depths)
    if depths is None:
        return Figure("Waiting", UNKNOWN, _AWAY, "stacks", "danger", page)
    note = ", ".join(f"{depth:,} in {queue}" for queue, depth in depths.items())
    return Figure("Waiting", f"{sum(depths.values()):,}", note, "stacks", link=page)


def _depths() -> dict[str, int]:
    pools = (pool for info in workers.alive() for pool in info.pools)
    return workers.queue_depths(sorted({*workers.QUEUES, *pools}))


def _workers(page: str) -> Figure:
    alive = known(workers.alive)
    if alive is None:
        return Figure("Workers alive", UNKNOWN, _AWAY, "memory", "danger", page)
    gpu = sum(1 for info in alive if info.computes)
    note = f"{gpu} for models, {len(alive) - gpu} for jobs"
    return Figure("Workers alive", str(len(alive)), note, "memory", "" if gpu else "danger", page)
