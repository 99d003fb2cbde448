"""Texts that are longer than a model reads: how calls ask for them to be cut, and what is said of those that are not.

Tokens are counted by the model's own tokenizer, so by the worker: all that the model would read of the input whole, the special
tokens that the tokenizer puts around it included, and of a pair those of both texts.
"""

from collections.abc import Iterable
from typing import Any, Final

from inference.types import REFUSE, TO_LIMIT, TextLength
from mlplatform.lib.errors import ErrorKind, PlatformError

_HOW: Final = '"parameters": {"truncate": true}'
HEADER: Final = "X-Input-Truncated"
_MAX_TOLD: Final = 32


def too_long(length: TextLength, *, model: str, field: str | None = None) -> PlatformError:
    """The refusal of an input that may not be cut; ``tokens`` and ``max_tokens`` are members of the problem."""
    return PlatformError(
        ErrorKind.INVALID_INPUT,
        f"The input has {length.tokens:,} tokens; {model} reads at most {length.max_tokens:,}. Shorten it, or let it be cut "
        f"there with {_HOW}. Nothing was charged for it.",
        field=field,
        extra=length.as_json(),
    )


def is_too_long(problem: PlatformError) -> bool:
    """Whether it is a refusal by :func:`too_long`."""
    return problem.kind is ErrorKind.INVALID_INPUT and "max_tokens" in problem.extra


def in_words(problem: PlatformError, how: str) -> str:
    """The detail of any problem; that of :func:`too_long` tells ``how`` a call of this face lets a text be cut."""
    return problem.detail.replace(_HOW, how) if is_too_long(problem) else problem.detail


def told(lengths: Iterable[TextLength | None]) -> dict[str, str]:
    """The header of an answer whose body has no room: the inputs that were cut, by their place from 0, as a list of RFC 9651
    with parameters, such as ``0;tokens=612;max_tokens=256``; the first 32 of them. Nothing where none was cut.
    """
    cut = [(place, length) for place, length in enumerate(lengths) if length is not None]
    if not cut:
        return {}
    return {
        HEADER: ", ".join(f"{place};tokens={one.tokens};max_tokens={one.max_tokens}" for place, one in cut[:_MAX_TOLD])
    }


def flag(value: Any) -> int:
    """What ``truncate: true`` or its absence asks for."""
    return TO_LIMIT if value else REFUSE
