"""How many examples properties are tried with: a fifth in ``make test``, all in ``make test-all``.

``TEST_EXAMPLES=many`` asks for all, as ``make test-all`` does; without it a run of pytest is one of the edit loop.
"""

import os
from typing import Any, Final

from hypothesis import settings

MANY: Final = os.environ.get("TEST_EXAMPLES") == "many"
USUAL: Final = 100
"""Hypothesis' own number, for properties that name none."""
_FEWEST: Final = 10


def examples(most: int, **others: Any) -> settings:
    """Hypothesis settings of a property that wants ``most`` examples when there is time."""
    return settings(max_examples=number(most), **others)


def number(most: int) -> int:
    """Of ``most`` examples, how many this run tries."""
    return most if MANY else max(min(most, _FEWEST), most // 5)


def load_profile() -> None:
    """The profile of properties that name no settings, and what all of them share."""
    # How long an example takes depends on who else uses the machine, and says nothing about the product.
    settings.register_profile("suite", deadline=None, derandomize="CI" in os.environ, max_examples=number(USUAL))
    settings.load_profile("suite")
