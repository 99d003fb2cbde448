"""What an API version is, and the chain of all of them: requests go up it, answers down."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, Final, Protocol, cast

from msgspec import defstruct, structs

from inference.api_versions.changes import AddedAnswerField, Body, CannotSay, Change, NowAskedFor, RenamedRequestField
from inference.engine.predict import Answer
from inference.types import PredictRequest
from mlplatform.lib.errors import PlatformError
from tenants.http.messages import Message, only, required


class Parse(Protocol):
    """Reads a body; ``model`` is given where the address names it. Raises INVALID_INPUT that names the field."""

    def __call__(self, body: Mapping[str, Any], *, model: str = "") -> PredictRequest: ...


@dataclass(frozen=True, slots=True)
class Example:
    """A call that stands in documents: the body that is sent and the one that comes back, as JSON values."""

    request: Body
    answer: Body


@dataclass(frozen=True, slots=True)
class Native:
    """A version that is read and written as it is, without a chain. ``request`` is the message that it reads."""

    parse: Parse
    render: Callable[[Answer], dict[str, Any]]
    request: type[Message]
    example: Example


@dataclass(frozen=True, slots=True)
class ApiDescription:
    """An API version: what changed since the version that it ``follows``, which is empty for the first.

    ``native`` is needed by the newest alone. Without it, a version is read and written as the next newer one that has it,
    through the changes between them. So a new API version is one file, and those before it stay untouched.
    """

    name: str
    follows: str = ""
    changes: tuple[Change, ...] = ()
    native: Native | None = None


@dataclass(frozen=True, slots=True)
class _Way:
    """From a version to the next newer one that is native, made once."""

    native: Native
    requests: tuple[Change, ...]
    answers: tuple[Callable[[Body], Body], ...]
    request_fields: Mapping[str, bool]
    old_names: Mapping[str, str]
    demands: Mapping[str, Any]


class Descriptions:
    """All API versions, oldest first, and the ways between them."""

    def __init__(self, versions: Iterable[ApiDescription]) -> None:
        """Raises ValueError unless the versions follow each other in one line whose last is native."""
        self.versions: Final[Mapping[str, ApiDescription]] = {one.name: one for one in _in_line(list(versions))}
        self._names: Final = tuple(self.versions)
        self._ways: Final = {name: self._way(name) for name in self._names}

    def parse(self, name: str, body: Body, *, model: str = "") -> PredictRequest:
        """The body of a call of this API version. Raises INVALID_INPUT in the words of that version."""
        native = self.versions[name].native
        if native is not None:
            return native.parse(body, model=model)
        way = self._ways[name]
        body = only(body, way.request_fields)
        for old in way.old_names.values():
            if way.request_fields[old]:
                required(body, old)
        for change in way.requests:
            body = change.up(body)
        try:
            return replace(way.native.parse(body, model=model), **way.demands)
        except PlatformError as problem:
            problem.field = way.old_names.get(problem.field or "", problem.field)
            raise

    def request(self, name: str, *, called: str) -> type[Message]:
        """What a call of this API version says: the fields that the changes leave of the newer message, under their old names.

        ``called`` is its name in documents. Raises ValueError for a version that does not exist.
        """
        way = self._ways[self._names[self._place(name)]]
        newer = {field.encode_name: field for field in structs.fields(way.native.request)}
        names = {old: new for new, old in way.old_names.items()}
        kept = [(old, newer[names.get(old, old)]) for old in way.request_fields]
        fields = [(old, one.type) if one.required else (old, one.type, one.default) for old, one in kept]
        doc = {"__doc__": way.native.request.__doc__}
        made: Any = defstruct(called, fields, bases=(Message,), namespace=doc, kw_only=True, frozen=True)
        return cast("type[Message]", made)

    def render(self, name: str, answer: Answer) -> dict[str, Any]:
        """The answer's body in this API version."""
        native = self.versions[name].native
        if native is not None:
            return native.render(answer)
        way = self._ways[name]
        body: Body = way.native.render(answer)
        for down in way.answers:
            body = down(body)
        return dict(body)

    def changes(self, *, old: str, new: str) -> tuple[Change, ...]:
        """Every change from one version to a newer one, oldest first. Raises ValueError when it is not newer."""
        first, last = self._place(old), self._place(new)
        if first >= last:
            raise ValueError(f"{new} does not come after {old}.")
        return tuple(change for name in self._names[first + 1 : last + 1] for change in self.versions[name].changes)

    def request_up(self, body: Body, *, old: str, new: str) -> dict[str, Any]:
        """A request of the older version as the newer one has it. Raises ValueError for one that the older has not."""
        for change in self.changes(old=old, new=new):
            if change.part == "request":
                body = change.up(body)
        return dict(body)

    def answer_down(self, body: Body, *, new: str, old: str) -> dict[str, Any]:
        """An answer of the newer version as the older one has it. Raises ValueError when that cannot say it."""
        for change in reversed(self.changes(old=old, new=new)):
            if change.part == "answer":
                body = change.down(body)
        return dict(body)

    def example(self, name: str) -> Example:
        """A call of this API version and its answer. Raises ValueError for one that does not exist."""
        way = self._ways[self._names[self._place(name)]]
        request, answer = way.native.example.request, way.native.example.answer
        for change in reversed(way.requests):
            request = change.down(request)
        for down in way.answers:
            answer = down(answer)
        return Example(request, answer)

    def _place(self, name: str) -> int:
        if name not in self.versions:
            raise ValueError(f"There is no API version {name}; there are {', '.join(self._names)}.")
        return self._names.index(name)

    def _way(self, name: str) -> _Way:
        natives = ((one, self.versions[one].native) for one in self._names[self._place(name) :])
        newer, native = next(((one, native) for one, native in natives if native is not None), ("", None))
        if native is None:
            raise ValueError(f"Neither {name} nor a newer API version says how it is read and written.")
        changes = self.changes(old=name, new=newer) if newer != name else ()
        request_fields: Mapping[str, bool] = {one.encode_name: one.required for one in structs.fields(native.request)}
        names = {field: field for field in request_fields}
        for change in reversed(changes):
            request_fields = change.fields_down(request_fields)
            if isinstance(change, RenamedRequestField):
                names = {new: change.old if old == change.new else old for new, old in names.items()}
        return _Way(
            native=native,
            requests=tuple(change for change in changes if change.part == "request"),
            answers=tuple(_downs(change for change in reversed(changes) if change.part == "answer")),
            request_fields=request_fields,
            old_names={new: old for new, old in names.items() if new != old and old in request_fields},
            demands={name: True for change in changes if isinstance(change, CannotSay) for name in change.demands}
            | {
                name: value
                for change in changes
                if isinstance(change, NowAskedFor)
                for name, value in change.meant.items()
            },
        )


def _downs(changes: Iterable[Change]) -> Iterator[Callable[[Body], Body]]:
    """The steps down. Fields that are left out one after the other go in one step: each step makes a new body."""
    for added, run in groupby(changes, key=lambda change: isinstance(change, AddedAnswerField)):
        if added:
            yield partial(_left_out, frozenset(change.after for change in run))
        else:
            yield from (change.down for change in run)


def _left_out(names: frozenset[str], body: Body) -> Body:
    return {name: value for name, value in body.items() if name not in names}


def _in_line(versions: list[ApiDescription]) -> Iterator[ApiDescription]:
    following = {one.follows: one for one in versions}
    if len(following) != len(versions):
        raise ValueError("Two API versions follow the same one; they must stand in one line.")
    name, left = "", len(versions)
    while name in following:
        one = following[name]
        yield one
        name, left = one.name, left - 1
    if left:
        raise ValueError(f"An API version follows one that does not exist: {sorted(following)}.")
