"""The same call before and after a migration, made of the descriptions: curl, the answer, and Python."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from inference import api_versions
from inference.api_versions.changes import Body, Change, MovedAnswerField, steps_of
from inference.deprecations.guides.rewriting import example_input
from inference.deprecations.guides.written_calls import curl, pretty
from inference.types import ModelRef

API_KEY: Final = "$API_KEY"
_LONGEST_BODY: Final = 600
_LABEL_SCORES: Final = (0.981274, 0.018726)
_SHOWN_NUMBERS: Final = (0.0132, -0.0481, 0.0275)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of code; ``differs`` when the other side has no such line."""

    text: str
    differs: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """The same thing in both forms."""

    title: str
    old: tuple[Line, ...]
    new: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One side: where it goes, what is sent and what comes back. ``read`` are paths of the answer that a program prints."""

    api_version: str
    request: Body
    answer: Body
    read: tuple[str, ...]


def of_api_versions(old: str, new: str) -> tuple[Call, Call]:
    """The example of the older API version, and the same call in the newer one."""
    before = api_versions.example(old)
    changes = api_versions.changes(old=old, new=new)
    request = api_versions.request_up(before.request, old=old, new=new)
    read = [name for name in before.answer if traced(name, changes) != name] or list(before.answer)[:2]
    return (
        Call(old, before.request, before.answer, tuple(read)),
        Call(new, request, api_versions.example(new).answer, tuple(traced(name, changes) for name in read)),
    )


def of_model_versions(old: ModelRef, new: ModelRef, *, api_version: str) -> tuple[Call, Call]:
    """A call that pins the old model version, and one that pins the new; scores are examples."""
    before, after = (
        Call(
            api_version,
            {"model": f"{ref.name}@{ref.version}", "input": example_input(ref.input_schema)},
            _answer(ref, api_versions.example(api_version).answer),
            ("model_version", ref.vector_name if ref.is_embedding else "predictions[0].label"),
        )
        for ref in (old, new)
    )
    return before, after


def traced(name: str, changes: Iterable[Change]) -> str:
    """Where a field of the older answer stands in the newer: ``prediction`` is ``predictions[0].label``."""
    path = name
    for change in changes:
        if not isinstance(change, MovedAnswerField):
            continue
        below = path.removeprefix(change.old)
        if below != path and (not below or below[0] in ".["):
            path = change.new + below
    return path


def samples(before: Call, after: Call, *, base_url: str) -> tuple[Sample, ...]:
    """Both sides, three times."""
    return (
        _sample("The call with curl", *(_curl(call, base_url) for call in (before, after))),
        _sample("Its answer, with numbers that are examples", *(pretty(call.answer) for call in (before, after))),
        _sample("The same in Python, with requests", *(_python(call, base_url) for call in (before, after))),
    )


def _curl(call: Call, base_url: str) -> str:
    command = curl(api_version=call.api_version, body=call.request, base_url=base_url, key=API_KEY)
    if len(command) <= _LONGEST_BODY:
        return command
    return f"{command.rpartition(' -d ')[0]} -d @request.json"


def _python(call: Call, base_url: str) -> str:
    body = _python_literal(call.request)
    if len(body) > _LONGEST_BODY:
        body = 'json.load(open("request.json"))'
    prints = "\n".join(f"print(answer{_subscripts(path)})" for path in call.read)
    return (
        f"import {'json, os' if body.startswith('json.') else 'os'}\nimport requests\n\n"
        f"response = requests.post(\n"
        f'    "{base_url}/{call.api_version}/predict",\n'
        '    headers={"Authorization": f"Bearer {os.environ[\'API_KEY\']}"},\n'
        f"    json={body},\n"
        "    timeout=30,\n)\n"
        "response.raise_for_status()\n"
        "answer = response.json()\n"
        f"{prints}"
    )


def _python_literal(value: Body) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {_literal(item)}" for name, item in value.items()) + "}"


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _subscripts(path: str) -> str:
    """``predictions[0].label`` as Python reads it: ``["predictions"][0]["label"]``."""
    return "".join(f"[{json.dumps(step)}]" for step in steps_of(path))


def _answer(ref: ModelRef, example: Body) -> Body:
    """The example as this model version would answer it: its labels, or a vector."""
    result: dict[str, Any] = {}
    for name, value in example.items():
        if name != "predictions":
            result[name] = value
        elif ref.is_embedding:
            result[ref.vector_name] = [_SHOWN_NUMBERS[index % len(_SHOWN_NUMBERS)] for index in range(ref.outputs)]
        else:
            scores = zip(reversed(ref.labels), _LABEL_SCORES, strict=False)
            result[name] = [{"label": label, "score": score} for label, score in scores]
    return result | {"model": ref.name, "model_version": ref.version}


def _sample(title: str, old: str, new: str) -> Sample:
    sides = old.split("\n"), new.split("\n")
    return Sample(title, _lines(*sides), _lines(*reversed(sides)))


def _lines(lines: list[str], others: list[str]) -> tuple[Line, ...]:
    """Commas and continuations at the end of a line are no difference to act on."""
    known = {line.strip().rstrip(",\\ ") for line in others}
    return tuple(Line(line, line.strip().rstrip(",\\ ") not in known) for line in lines)
