"""The API versions as they are described: the chain between them, and what it does with bodies."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import inference.api_versions
from inference import api_versions
from inference.api_versions import VERSIONS, ApiDescription, Descriptions, Example, Native, v2
from inference.api_versions.changes import (
    AddedAnswerField,
    AddedRequestField,
    CannotSay,
    MovedAnswerField,
    RenamedRequestField,
)
from inference.api_versions.messages import PredictRequest as PredictMessage
from inference.engine.predict import Answer
from inference.types import REFUSE, TO_LIMIT, LabelScore, PredictRequest, PredictResult
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.deprecations import released
from tenants.http.json_schemas import component
from tenants.http.messages import Message

LABELS = st.lists(st.builds(LabelScore, label=st.text(max_size=8), score=st.floats(0, 1)), min_size=1, max_size=6)
RESULTS = st.builds(
    PredictResult,
    id=st.text("abc123", min_size=1),
    model=st.sampled_from(["sentiment", "digits"]),
    model_version=st.sampled_from(["1.0.0", "2.1.0"]),
    predictions=LABELS,
    embedding=st.none(),
    units=st.integers(0, 100),
    cached=st.booleans(),
    age_s=st.just(0),
    latency_ms=st.floats(0, 1000),
)
INPUTS = st.text(min_size=1) | st.lists(st.floats(allow_nan=False), min_size=1)
OLD_REQUESTS = st.fixed_dictionaries({"input": INPUTS}, optional={"model": st.sampled_from(["", "sentiment@1.0.0"])})


def of(result: PredictResult) -> Answer:
    return Answer((result,), 1, None)


EMBEDDING = PredictResult("1", "minilm", "1.0.0", None, np.zeros(3, np.float32), 5, False, 0, 1.5)


def test_every_module_is_found_oldest_first_and_has_its_row() -> None:
    assert list(VERSIONS) == ["v1", "v1.1", "v2"]
    folder = Path(inference.api_versions.__file__).parent
    files = {path.stem for path in folder.glob("v*.py")}
    assert files == {name.replace(".", "_") for name in VERSIONS}
    assert list(VERSIONS) == [name for name, *_ in released.FIRST]


def test_each_change_has_its_sentence() -> None:
    changes = api_versions.changes(old="v1", new="v2")
    assert len(changes) > 10
    assert all(re.fullmatch(r"[A-Z].*\.", change.summary) for change in changes)


@given(result=RESULTS)
def test_v1_is_the_best_label(result: PredictResult) -> None:
    best = result.predictions[0] if result.predictions else None
    assert best is not None
    expected = {"prediction": best.label, "confidence": round(best.score, 6)}
    assert api_versions.render("v1", of(result)) == expected
    more = expected | {"model_version": result.model_version, "latency_ms": result.latency_ms}
    rendered = api_versions.render("v1.1", of(result))
    assert rendered == more
    assert list(rendered) == list(more), "the order of the fields is what it has always been"


@given(result=RESULTS)
def test_an_answer_that_was_kept_goes_down_as_a_live_one(result: PredictResult) -> None:
    whole = api_versions.render("v2", of(result))
    for old in ("v1", "v1.1"):
        assert api_versions.answer_down(whole, new="v2", old=old) == api_versions.render(old, of(result))
    short = api_versions.render("v1.1", of(result))
    assert api_versions.answer_down(short, new="v1.1", old="v1") == api_versions.render("v1", of(result))


def test_the_newest_is_written_without_a_chain() -> None:
    assert VERSIONS["v2"].native is not None
    assert VERSIONS["v2"].native.parse is v2.parse
    assert VERSIONS["v2"].native.render is v2.render


@pytest.mark.parametrize("old", ["v1", "v1.1"])
def test_an_old_version_cannot_say_an_embedding(old: str) -> None:
    body = api_versions.render("v2", of(EMBEDDING))
    with pytest.raises(ValueError, match="embedding"):
        api_versions.answer_down(body, new="v2", old=old)
    assert api_versions.parse(old, {"input": "x"}).labels_only, "so it is refused before it costs"
    assert not api_versions.parse("v2", {"input": "x"}).labels_only


@given(body=OLD_REQUESTS, old=st.sampled_from(["v1", "v1.1"]))
def test_a_request_goes_up_and_comes_back(body: dict[str, Any], old: str) -> None:
    newer = api_versions.request_up(body, old=old, new="v2")
    changes = api_versions.changes(old=old, new="v2")
    back: Any = newer
    for change in reversed([change for change in changes if change.part == "request"]):
        back = change.down(back)
    assert back == body
    parsed = api_versions.parse("v2", newer)
    assert api_versions.parse(old, body) == replace(parsed, labels_only=True, truncate=TO_LIMIT)


@pytest.mark.parametrize("old", ["v1", "v1.1"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": "x", "parameters": {"top_k": 1}}, "parameters"),
        ({"input": "x", "inputs": 1}, "inputs"),
        ({"model": "sentiment"}, "input"),
        ({"model": 7, "input": "x"}, "model"),
        ({"model": 7, "input": None}, "input"),
    ],
)
def test_an_old_version_refuses_what_it_never_had(old: str, body: dict[str, Any], field: str) -> None:
    with pytest.raises(PlatformError) as caught:
        api_versions.parse(old, body)
    assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID_INPUT, field)
    if field == "parameters":
        assert caught.value.detail == "Unknown field 'parameters'; there are input, model."


def test_the_examples_are_true_to_each_other() -> None:
    for name in VERSIONS:
        example = api_versions.example(name)
        assert api_versions.parse(name, example.request).model == "sentiment"
    newest = api_versions.example("v2")
    assert api_versions.example("v1").answer == {"prediction": "positive", "confidence": 0.981274}
    assert api_versions.answer_down(newest.answer, new="v2", old="v1.1") == api_versions.example("v1.1").answer
    assert api_versions.request_up(api_versions.example("v1").request, old="v1", new="v2") == newest.request


@pytest.mark.parametrize(("old", "new"), [("v2", "v1"), ("v1", "v1"), ("v1", "v9"), ("v0", "v1")])
def test_only_newer_versions_come_after(old: str, new: str) -> None:
    with pytest.raises(ValueError, match=r"does not come after|no API version"):
        api_versions.changes(old=old, new=new)


def test_no_transport_is_known_here() -> None:
    for path in Path(inference.api_versions.__file__).parent.glob("*.py"):
        source = path.read_text()
        for word in ("rest_framework", "tenants.rest", "django.http", "inference.rest"):
            assert word not in source, path


# --- A version that does not exist yet, in memory -------------------------------------------------------------------------


V3 = ApiDescription(
    "v3",
    follows="v2",
    changes=(
        RenamedRequestField("input", "inputs", summary="Renamed."),
        AddedRequestField("explain", meant=False, summary="Says why."),
        AddedAnswerField("result", summary="Wrapped."),
        *(
            MovedAnswerField(name, f"result.{name}", summary="Wrapped.")
            for name in ("id", "model", "model_version", "predictions", "usage", "cached", "latency_ms")
        ),
    ),
)


class RequestV3(Message, frozen=True, kw_only=True):
    """One input for one model."""

    model: str | None = None
    inputs: Any
    parameters: Any = None
    explain: bool


def native_v3() -> ApiDescription:
    """v3 as a real newest version: it reads and writes itself, and those before it stay as they are."""

    def parse(body: Any, *, model: str = "") -> PredictRequest:
        body = {**body, "input": body["inputs"]}
        return v2.parse({name: body[name] for name in ("model", "input", "parameters") if name in body}, model=model)

    def render(answer: Answer) -> dict[str, Any]:
        return {"result": v2.render(answer)}

    native = Native(parse, render, RequestV3, example())
    return replace(V3, native=native)


def example() -> Example:
    newest = api_versions.example("v2")
    return Example({"model": "sentiment", "inputs": "x", "explain": False}, {"result": dict(newest.answer)})


@given(result=RESULTS, body=OLD_REQUESTS)
def test_a_chain_of_several_steps(result: PredictResult, body: dict[str, Any]) -> None:
    descriptions = Descriptions([*VERSIONS.values(), native_v3()])
    assert list(descriptions.versions) == ["v1", "v1.1", "v2", "v3"]
    expected: dict[str, Any] = {"inputs" if name == "input" else name: value for name, value in body.items()}
    assert descriptions.request_up(body, old="v1", new="v3") == expected | {"explain": False}
    newest = descriptions.render("v3", of(result))
    for name in ("v1", "v1.1", "v2"):
        down = descriptions.answer_down(newest, new="v3", old=name)
        assert down == api_versions.render(name, of(result))
        assert list(down) == list(api_versions.render(name, of(result)))
        assert descriptions.parse(name, body) == api_versions.parse(name, body)
        assert descriptions.render(name, of(result)) == down


def test_older_versions_can_be_taken_through_a_chain_that_renames() -> None:
    """v2 gives up its own way of being read: then it goes through v3, and still speaks of ``input``."""
    older = [replace(one, native=None) for one in VERSIONS.values()]
    descriptions = Descriptions([*reversed(older), native_v3()])
    assert descriptions.parse("v2", {"input": "x"}) == PredictRequest(model="", input="x")
    assert descriptions.parse("v1", {"input": "x"}) == PredictRequest(
        model="", input="x", labels_only=True, truncate=TO_LIMIT
    )
    assert descriptions.example("v1").answer == api_versions.example("v1").answer
    assert descriptions.example("v2").request == {"model": "sentiment", "input": "x"}
    for name in ("v1", "v2"):
        wrong: list[tuple[dict[str, Any], str]] = [
            ({}, "input"),
            ({"inputs": "x"}, "inputs"),
            ({"input": "x", "explain": True}, "explain"),
        ]
        for body, field in wrong:
            with pytest.raises(PlatformError) as caught:
                descriptions.parse(name, body)
            assert caught.value.field == field
            assert field in caught.value.detail


def test_what_an_older_version_takes_is_told_from_what_the_newest_takes() -> None:
    descriptions = Descriptions([*(replace(one, native=None) for one in VERSIONS.values()), native_v3()])
    for name, expected in (("v1", ["model", "input"]), ("v2", ["model", "input", "parameters"])):
        message = descriptions.request(name, called="Older")
        schema = component(message)
        assert (message.__name__, schema["required"], list(schema["properties"])) == ("Older", ["input"], expected)
        assert schema["additionalProperties"] is False
    assert component(api_versions.DESCRIPTIONS.request("v1", called="PredictRequest"))["properties"] == {
        name: schema for name, schema in component(PredictMessage)["properties"].items() if name != "parameters"
    }
    with pytest.raises(ValueError, match="no API version v9"):
        descriptions.request("v9", called="Older")


def test_a_chain_must_be_one_line_that_ends_in_a_native_version() -> None:
    native = VERSIONS["v2"].native
    with pytest.raises(ValueError, match="Two API versions follow the same"):
        Descriptions([ApiDescription("v1"), ApiDescription("v2", "v1"), ApiDescription("v3", "v1", native=native)])
    with pytest.raises(ValueError, match="does not exist"):
        Descriptions([ApiDescription("v1"), ApiDescription("v3", "v2", native=native)])
    with pytest.raises(ValueError, match="how it is read"):
        Descriptions([*VERSIONS.values(), V3])


def test_what_older_calls_got_unasked_they_get_and_newer_ones_ask_for() -> None:
    """A call is rewritten without it: its author shall decide whether to ask."""
    for old in ("v1", "v1.1"):
        assert api_versions.parse(old, {"input": "x"}).truncate == TO_LIMIT
        assert api_versions.request_up({"input": "x"}, old=old, new="v2") == {"input": "x"}
    assert api_versions.parse("v2", {"input": "x"}).truncate == REFUSE
    assert api_versions.parse("v2", {"input": "x", "parameters": {"truncate": True}}).truncate == TO_LIMIT
    for silent in ({}, {"truncate": False}, {"truncate": None}, {"top_k": 1}):
        assert api_versions.parse("v2", {"input": "x", "parameters": silent}).truncate == REFUSE
    with pytest.raises(PlatformError) as caught:
        api_versions.parse("v2", {"input": "x", "parameters": {"truncate": "yes"}})
    assert caught.value.field == "parameters.truncate"


def test_demands_come_from_the_changes() -> None:
    v3 = replace(native_v3(), changes=(*V3.changes, CannotSay("text", demands=("labels_only",), summary="Texts.")))
    older = [*(replace(one, native=None) for one in VERSIONS.values()), v3]
    assert Descriptions(older).parse("v2", {"input": "x"}).labels_only
