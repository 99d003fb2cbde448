"""Kinds of changes between an API version and the one that it follows. Each is pure, and says itself in a sentence.

``up`` turns a body of the older version into one of the newer, ``down`` the other way. Bodies are never changed in place.
Requests are taken up and answers down; the opposite directions are there so that each change can be checked by a round
trip. A body that the other version cannot say raises ``ValueError``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Final, Literal

Body = Mapping[str, Any]
Part = Literal["request", "answer", "operation"]

_STEP: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


@dataclass(frozen=True)
class Change:
    """One difference. ``summary`` is its sentence in the migration guide (Markdown); ``before`` and ``after`` are names."""

    part: ClassVar[Part]
    summary: str = field(kw_only=True)

    @property
    def before(self) -> str:
        """The field in the older version; empty where it has none."""
        return ""

    @property
    def after(self) -> str:
        """The field in the newer version; empty where it has none."""
        return ""

    def up(self, body: Body) -> Body:
        return body

    def down(self, body: Body) -> Body:
        return body

    def fields_down(self, fields: Mapping[str, bool]) -> Mapping[str, bool]:
        """The request's fields (and whether they are required) as the older version has them."""
        return fields


@dataclass(frozen=True)
class _Adds(Change):
    """Something that only the newer version has."""

    name: str

    @property
    def after(self) -> str:
        return self.name


@dataclass(frozen=True)
class _Moves(Change):
    """Something that both versions have, under other names or at other places."""

    old: str
    new: str

    @property
    def before(self) -> str:
        return self.old

    @property
    def after(self) -> str:
        return self.new


@dataclass(frozen=True)
class AddedRequestField(_Adds):
    """A request may say more. ``meant`` is what the silence of an older call means, where the newer must say it."""

    part = "request"
    meant: Any = None

    def up(self, body: Body) -> Body:
        return body if self.meant is None or self.name in body else {**body, self.name: self.meant}

    def down(self, body: Body) -> Body:
        if self.name not in body:
            return body
        if self.meant is None or body[self.name] != self.meant:
            raise ValueError(f"The older API version has no field {self.name!r}.")
        return _without(body, self.name)

    def fields_down(self, fields: Mapping[str, bool]) -> Mapping[str, bool]:
        return _without(fields, self.name)


@dataclass(frozen=True)
class NowAskedFor(_Adds):
    """What calls of the older version get unasked, and those of the newer where they ask for it.

    A call of the older version is made with the fields of ``meant`` (of a :class:`~inference.types.PredictRequest`). Rewritten
    it does not ask for them: few calls need what it is, and their authors shall decide.
    """

    part = "request"
    meant: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RenamedRequestField(_Moves):
    """The same value under another name."""

    part = "request"

    def up(self, body: Body) -> Body:
        return _renamed(body, self.old, self.new)

    def down(self, body: Body) -> Body:
        return _renamed(body, self.new, self.old)

    def fields_down(self, fields: Mapping[str, bool]) -> Mapping[str, bool]:
        return _renamed(fields, self.new, self.old)


@dataclass(frozen=True)
class AddedAnswerField(_Adds):
    """An answer says more, which the older version leaves out."""

    part = "answer"

    def down(self, body: Body) -> Body:
        return _without(body, self.name)


@dataclass(frozen=True)
class MovedAnswerField(_Moves):
    """The same value at another place: paths such as ``predictions[0].label``. What it leaves behind empty stays."""

    part = "answer"

    def up(self, body: Body) -> Body:
        return _moved(body, self.old, self.new)

    def down(self, body: Body) -> Body:
        return _moved(body, self.new, self.old)


@dataclass(frozen=True)
class CannotSay(_Adds):
    """An answer of the newer version that the older has no words for.

    ``demands`` are fields of the :class:`~inference.types.PredictRequest` that are set for a call of the older version, so
    that it is refused before it costs.
    """

    part = "answer"
    demands: tuple[str, ...] = ()

    def down(self, body: Body) -> Body:
        if self.name in body:
            raise ValueError(f"The older API version cannot say {self.name!r}.")
        return body


@dataclass(frozen=True)
class AddedOperation(_Adds):
    """An address that the older version does not have, such as ``POST /batch-predict``."""

    part = "operation"


def _without(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return {key: value for key, value in body.items() if key != name}


def _renamed(body: Mapping[str, Any], old: str, new: str) -> Mapping[str, Any]:
    if new in body:
        raise ValueError(f"There is a field {new!r} already.")
    return {new if key == old else key: value for key, value in body.items()}


# --- Places in a body -------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def steps_of(path: str) -> tuple[str | int, ...]:
    """``predictions[0].label`` is ``("predictions", 0, "label")``."""
    return tuple(int(index) if index else name for index, name in _STEP.findall(path))


def _moved(body: Body, source: str, target: str) -> Body:
    value, rest = _taken(body, steps_of(source), source)
    steps = steps_of(target)
    # A field of the top goes first, so that taking several down one after the other leaves them in the order of the list.
    placed: Body = {target: value, **rest} if len(steps) == 1 else _placed(rest, steps, value)
    return placed


def _taken(node: Any, steps: tuple[str | int, ...], path: str) -> tuple[Any, Any]:
    """The value at a place, and a copy of the node without it."""
    step, rest = steps[0], steps[1:]
    holds = isinstance(node, Mapping) if isinstance(step, str) else isinstance(node, list)
    if not holds or (step not in node if isinstance(step, str) else step >= len(node)):
        raise ValueError(f"There is no {path}.")
    copy: Any = dict(node) if isinstance(step, str) else list(node)
    if not rest:
        return copy.pop(step), copy
    value, copy[step] = _taken(node[step], rest, path)
    return value, copy


def _placed(node: Any, steps: tuple[str | int, ...], value: Any) -> Any:
    """A copy of the node with a value at a place, which is made where it is missing."""
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        old = node.get(step) if isinstance(node, Mapping) else None
        return {**(node or {}), step: _placed(old, rest, value) if rest else value}
    items = list(node or ())
    if step > len(items):
        raise ValueError(f"There is no item {step - 1} before it.")
    old = items[step] if step < len(items) else None
    items[step : step + 1] = [_placed(old, rest, value) if rest else value]
    return items
