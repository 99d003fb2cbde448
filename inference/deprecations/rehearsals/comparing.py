"""What differs between two JSON values: their fields, and beyond a tolerance their labels and scores. Pure.

Fields are told by their shapes alone (``text``, ``number``, ``list of number``), so that no text of a customer gets into
a report. Labels are the model's words, not the customer's.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

OF_EACH_CALL: Final = frozenset({"id", "request_id", "model", "model_version", "usage", "cached", "latency_ms"})
"""Members of answers that differ from call to call by design, and say nothing of what the model found."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that only one of two values has, or that has another shape in the other. ``before``, ``after`` are shapes."""

    path: str
    change: Literal["added", "removed", "changed"]
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Two answers that disagree at a place: in a label, or in a score by ``by``. ``example`` names both labels."""

    what: Literal["label", "score"]
    path: str
    by: float
    example: str


def field_changes(old: Any, new: Any) -> list[FieldChange]:
    """Which fields come, go or take another shape from ``old`` to ``new``, in their order."""
    before, after = dict(_shapes(old, "")), dict(_shapes(new, ""))
    found = []
    for path in dict.fromkeys([*before, *after]):
        had, has = before.get(path, ""), after.get(path, "")
        if had != has:
            change: Literal["added", "removed", "changed"] = "added" if not had else "removed" if not has else "changed"
            found.append(FieldChange(path, change, had, has))
    return found


def _shapes(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The shape of each field by its path, such as ``predictions[].label``."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _shapes(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        yield path, "list of object"
        for item in value:
            yield from _shapes(item, f"{path}[]")
    else:
        yield path, _shape(value)


def _shape(value: Any) -> str:
    if isinstance(value, list):
        return f"list of {_shape(value[0])}" if value else "list"
    names = {str: "text", bool: "true or false", int: "number", float: "number", dict: "object"}
    return names.get(type(value), "null")


def differences(old: Any, new: Any) -> list[Difference]:
    """Where two answers of one shape disagree: labels that are others, and scores with how far they moved.

    A list of labels with scores is compared by its first label, and score by score of the same label. An embedding's
    ``by`` is one minus the cosine of both.
    """
    return list(_differences(old, new, ""))


def _differences(old: Any, new: Any, path: str) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = [name for name in old if name in new and not (path == "" and name in OF_EACH_CALL)]
        relabeled = any(isinstance(old[name], str) and old[name] != new[name] for name in names)
        for name in names:
            # How sure the model is of one label has nothing to do with how sure it was of another.
            if not (relabeled and _is_number(old[name])):
                yield from _differences(old[name], new[name], f"{path}.{name}" if path else str(name))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(old, new, path)
    elif isinstance(old, str) and isinstance(new, str):
        if old != new:
            yield Difference("label", path, 1.0, f"{old} → {new}")
    elif _is_number(old) and _is_number(new):
        if old != new:
            yield Difference("score", path, abs(old - new), "")
    elif old != new:
        yield Difference("label", path, 1.0, f"{_shape(old)} → {_shape(new)}")


def _lists(old: list[Any], new: list[Any], path: str) -> Iterator[Difference]:
    if all(_is_number(item) for item in [*old, *new]):
        if len(old) != len(new):
            yield Difference("label", path, 1.0, f"{len(old)} → {len(new)} numbers")
        elif old != new:
            yield Difference("score", path, _turned(old, new), "")
        return
    before, after = _by_label(old), _by_label(new)
    if not before or not after:
        if old != new:
            yield Difference("label", path, 1.0, f"{len(old)} → {len(new)} items")
        return
    first, now = next(iter(before)), next(iter(after))
    if first != now:
        yield Difference("label", f"{path}[0]", 1.0, f"{first} → {now}")
    for label in before:
        if label in after and before[label] != after[label]:
            yield Difference("score", f"{path}[{label}]", abs(before[label] - after[label]), "")


def _by_label(items: list[Any]) -> dict[str, float]:
    """Scores by label where each item is an object of one text and one number, in their order; else nothing."""
    found: dict[str, float] = {}
    for item in items:
        if not isinstance(item, Mapping):
            return {}
        texts = [value for value in item.values() if isinstance(value, str)]
        numbers = [value for value in item.values() if _is_number(value)]
        if len(texts) != 1 or len(numbers) != 1:
            return {}
        found[texts[0]] = float(numbers[0])
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _turned(old: Sequence[float], new: Sequence[float]) -> float:
    lengths = math.hypot(*old) * math.hypot(*new)
    product = sum(a * b for a, b in zip(old, new, strict=True))
    return 1.0 - product / lengths if lengths else 1.0
