"""What a call's ``Cache-Control`` (RFC 9111, section 5.2.1) means for its prediction."""

from functools import lru_cache
from typing import Final

from inference.types import CachePolicy

_ANY: Final = CachePolicy()
_LONGEST_S: Final = 2**31


def policy(header: str) -> CachePolicy:
    """``no-cache`` and ``max-age=0`` compute anew; ``no-store`` neither reads nor keeps; ``max-age=60`` takes no answer that is
    older; ``only-if-cached`` computes nothing. Other directives are left alone; of two that disagree the stricter counts.
    """
    return _parsed(header) if header else _ANY


@lru_cache(maxsize=256)
def _parsed(header: str) -> CachePolicy:
    read = write = True
    only_if_cached = False
    max_age_s: int | None = None
    for part in header.split(","):
        name, _, value = (text.strip().lower() for text in part.partition("="))
        if name == "no-store":
            read = write = False
        elif name == "no-cache":
            read = False
        elif name == "only-if-cached":
            only_if_cached = True
        elif name == "max-age":
            seconds = _seconds(value)
            max_age_s = seconds if max_age_s is None else min(max_age_s, seconds)
    return CachePolicy(read=read and max_age_s != 0, write=write, max_age_s=max_age_s, only_if_cached=only_if_cached)


def _seconds(value: str) -> int:
    """Whole seconds; 0 for what is no number, as RFC 9111 (4.2.1) takes it for stale."""
    digits = value.strip('"')
    if not (digits.isascii() and digits.isdigit()):
        return 0
    return min(int(digits), _LONGEST_S) if len(digits) <= 10 else _LONGEST_S
