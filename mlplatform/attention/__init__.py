"""What needs the attention of staff now, each with a link to where it is put right."""

from collections.abc import Callable, Iterable
from typing import Final

from mlplatform.attention import calls, states
from mlplatform.attention.notice import Notice
from tenants.models import User

__all__ = ["Notice", "notices"]

_CHECKS: Final[tuple[Callable[[], Iterable[Notice]], ...]] = (
    states.of_workers,
    calls.failing,
    states.of_versions,
    states.suspended_with_calls,
    states.without_plan,
    states.nearly_used_up,
    states.keys_that_end,
    states.ends_with_callers,
)
_URGENCY: Final = {"danger": 0, "warning": 1, "info": 2}


def notices(user: User) -> list[Notice]:
    """What this person may know of, the most urgent first."""
    found = [notice for check in _CHECKS for notice in check()]
    return sorted((n for n in found if not n.permission or user.has_perm(n.permission)), key=lambda n: _URGENCY[n.tone])
