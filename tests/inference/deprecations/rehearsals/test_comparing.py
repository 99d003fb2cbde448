"""What differs between two JSON values: fields by their shapes, labels and scores by their values."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inference.deprecations.rehearsals import comparing
from inference.deprecations.rehearsals.comparing import Difference, FieldChange

V1 = {"prediction": "positive", "confidence": 0.9}
V2 = {
    "id": "a",
    "model": "sentiment",
    "predictions": [{"label": "positive", "score": 0.9}, {"label": "negative", "score": 0.1}],
    "usage": {"units": 1},
    "cached": False,
    "latency_ms": 3.0,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def test_fields_come_go_and_take_other_shapes() -> None:
    changes = comparing.field_changes(
        {"prediction": "positive", "same": 1, "input": "the customer's secret"},
        {"predictions": [{"label": "x", "score": 0.5}], "same": 2.5, "input": [[0.0, 1.0]]},
    )
    assert changes == [
        FieldChange("prediction", "removed", "text", ""),
        FieldChange("input", "changed", "text", "list of list of number"),
        FieldChange("predictions", "added", "", "list of object"),
        FieldChange("predictions[].label", "added", "", "text"),
        FieldChange("predictions[].score", "added", "", "number"),
    ]


def test_an_answer_differs_in_its_label_or_in_its_score() -> None:
    assert comparing.differences(V1, V1 | {"confidence": 0.65}) == [Difference("score", "confidence", 0.25, "")]
    assert comparing.differences(V1, {"prediction": "negative", "confidence": 0.2}) == [
        Difference("label", "prediction", 1.0, "positive → negative")
    ], "the score of another label says nothing"


def test_labels_in_a_list_are_compared_by_the_first_and_scores_by_their_label() -> None:
    swapped = V2 | {"predictions": [{"label": "negative", "score": 0.6}, {"label": "positive", "score": 0.4}]}
    assert comparing.differences(V2, swapped) == [
        Difference("label", "predictions[0]", 1.0, "positive → negative"),
        Difference("score", "predictions[positive]", 0.5, ""),
        Difference("score", "predictions[negative]", 0.5, ""),
    ]


def test_what_differs_from_call_to_call_is_no_difference() -> None:
    again = V2 | {"id": "b", "usage": {"units": 0}, "cached": True, "latency_ms": 99.0, "model": "other"}
    assert comparing.differences(V2, again) == []


def test_vectors_are_compared_by_their_angle() -> None:
    assert comparing.differences({"embedding": [1.0, 0.0]}, {"embedding": [2, 0]}) == [
        Difference("score", "embedding", 0.0, "")
    ]
    (turned,) = comparing.differences({"embedding": [1.0, 0.0]}, {"embedding": [0.0, 1.0]})
    assert turned.by == 1.0
    (longer,) = comparing.differences({"embedding": [1.0, 0.0]}, {"embedding": [1.0, 0.0, 0.0]})
    assert (longer.what, longer.example) == ("label", "2 → 3 numbers")


@given(value=JSON)
def test_nothing_differs_from_itself(value: Any) -> None:
    assert comparing.field_changes(value, value) == []
    assert comparing.differences(value, value) == []


@given(old=JSON, new=JSON)
def test_any_two_values_can_be_compared(old: Any, new: Any) -> None:
    there, back = comparing.field_changes(old, new), comparing.field_changes(new, old)
    assert {(one.path, one.before, one.after) for one in there} == {(one.path, one.after, one.before) for one in back}
    assert bool(comparing.differences(old, new)) == bool(comparing.differences(new, old))
