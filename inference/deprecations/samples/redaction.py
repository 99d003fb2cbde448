"""The shape of a call without its content, pure."""

from collections.abc import Mapping
from typing import Any, Final

_SHOWN_ITEMS: Final = 3
_FIELDS: Final = frozenset(
    {
        "cached", "confidence", "embedding", "id", "input", "label", "latency_ms", "model", "model_version", "parameters",
        "prediction", "predictions", "score", "scores", "top_k", "units", "usage",
    }
)  # fmt: skip
_OURS: Final = frozenset({"model", "model_version", "top_k"})
"""Fields whose values are names and settings of ours and say nothing of the customer's data."""


def redact(value: Any) -> Any:
    """The shape of a body: every text and number of the customer is replaced by what it was.

    Fields that the API knows keep their names; names that a customer chose do not. Long lists are cut. Of values, only the
    names and settings that are ours are kept.
    """
    return _shape(value, ours=_OURS)


def _shape(value: Any, *, name: str = "", ours: frozenset[str] = frozenset()) -> Any:
    if isinstance(value, Mapping):
        keys = [key if key in _FIELDS else f"<field {index}>" for index, key in enumerate(value, 1)]
        below = ours if name in {"", "parameters"} else frozenset[str]()
        return {key: _shape(item, name=key, ours=below) for key, item in zip(keys, value.values(), strict=True)}
    if isinstance(value, list):
        shown = [_shape(item, name="[]") for item in value[:_SHOWN_ITEMS]]
        return shown + ([f"<{len(value) - _SHOWN_ITEMS:,} more>"] if len(value) > _SHOWN_ITEMS else [])
    if value is None or (name in ours and isinstance(value, str | int)):
        return value
    if isinstance(value, str):
        return f"<text, {len(value):,} characters>"
    return False if isinstance(value, bool) else 0
