"""Windows of limits, for tests that are not about their ends."""

import time
from typing import Final

AGES_S: Final = 1_000_000_000
"""A fixed window begins at multiples of its length since 1970, and one that begins between two calls of a test forgets the
first. This one begins in 2033."""


def left_s() -> float:
    """Until it ends, in seconds."""
    return AGES_S - time.time() % AGES_S
