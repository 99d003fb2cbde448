"""Each kind of change by itself: what it does to a body, that it can be taken back, and what it refuses."""

import copy
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from inference.api_versions.changes import (
    AddedAnswerField,
    AddedOperation,
    AddedRequestField,
    CannotSay,
    Change,
    MovedAnswerField,
    NowAskedFor,
    RenamedRequestField,
)

NAMES = st.sampled_from(["a", "b", "c", "label", "score"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(NAMES, VALUES, max_size=5)
STEPS = st.lists(NAMES | st.just(0), max_size=3)


def place(head: str, steps: list[str | int]) -> str:
    return head + "".join("[0]" if step == 0 else f".{step}" for step in steps)


@given(body=BODIES)
def test_an_added_field_is_left_out_below(body: dict[str, Any]) -> None:
    change = AddedAnswerField("new", summary="")
    assert change.down(change.up(body)) == body
    assert change.down({**body, "new": 1}) == body


@given(body=BODIES)
def test_a_renamed_field_keeps_its_value_and_place(body: dict[str, Any]) -> None:
    change = RenamedRequestField("a", "renamed", summary="")
    up = change.up(body)
    assert "a" not in up
    assert list(up.values()) == list(body.values())
    assert list(change.down(up)) == list(body)
    assert change.down(up) == body


@given(body=BODIES, meant=st.integers())
def test_what_silence_meant_is_said_above_and_left_out_below(body: dict[str, Any], meant: int) -> None:
    change = AddedRequestField("new", meant=meant, summary="")
    assert change.up(body) == {**body, "new": meant}
    assert change.down(change.up(body)) == body
    assert change.up({**body, "new": meant + 1})["new"] == meant + 1
    with pytest.raises(ValueError, match="no field 'new'"):
        change.down({**body, "new": meant + 1})


@given(body=BODIES)
def test_what_is_asked_for_now_leaves_bodies_as_they_are(body: dict[str, Any]) -> None:
    change = NowAskedFor("parameters.new", meant={"truncate": -1}, summary="")
    assert change.up(body) == change.down(body) == body
    assert (change.part, change.before, change.after) == ("request", "", "parameters.new")


@given(body=BODIES, steps=STEPS, value=VALUES)
def test_a_moved_field_comes_back(body: dict[str, Any], steps: list[str | int], value: Any) -> None:
    assume("a" not in body)
    older = {"a": value, **body}
    change = MovedAnswerField("a", place("moved", steps), summary="")
    kept = copy.deepcopy(older)
    newer = change.up(older)
    assert "a" not in newer
    assert AddedAnswerField("moved", summary="").down(change.down(newer)) == older
    assert older == kept, "a body is never changed in place"


def test_down_changes_nothing_in_place() -> None:
    newer = {"predictions": [{"label": "a", "score": 1}, {"label": "b", "score": 0}], "id": "1"}
    kept = copy.deepcopy(newer)
    older = MovedAnswerField("prediction", "predictions[0].label", summary="").down(newer)
    assert older == {"prediction": "a", "predictions": [{"score": 1}, {"label": "b", "score": 0}], "id": "1"}
    assert newer == kept


@pytest.mark.parametrize(
    "body", [{}, {"predictions": []}, {"predictions": None}, {"predictions": [{}]}, {"predictions": ["x"]}]
)
def test_a_place_that_is_not_there_is_a_value_error(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"There is no predictions\[0\]\.label"):
        MovedAnswerField("prediction", "predictions[0].label", summary="").down(body)


def test_a_list_has_no_gaps() -> None:
    with pytest.raises(ValueError, match="no item 1"):
        MovedAnswerField("a", "items[2]", summary="").up({"a": 1})


def test_a_name_that_is_taken_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="already"):
        RenamedRequestField("a", "b", summary="").up({"a": 1, "b": 2})


def test_what_cannot_be_said_is_refused() -> None:
    change = CannotSay("embedding", summary="")
    assert change.down({"predictions": []}) == {"predictions": []}
    with pytest.raises(ValueError, match="cannot say 'embedding'"):
        change.down({"embedding": [0.5]})


@pytest.mark.parametrize(
    ("change", "part", "before", "after"),
    [
        (AddedRequestField("x", summary=""), "request", "", "x"),
        (RenamedRequestField("x", "y", summary=""), "request", "x", "y"),
        (AddedAnswerField("x", summary=""), "answer", "", "x"),
        (MovedAnswerField("x", "y[0]", summary=""), "answer", "x", "y[0]"),
        (CannotSay("x", summary=""), "answer", "", "x"),
        (AddedOperation("GET /x", summary=""), "operation", "", "GET /x"),
    ],
)
def test_a_guide_can_name_both_sides(change: Change, part: str, before: str, after: str) -> None:
    assert (change.part, change.before, change.after) == (part, before, after)
