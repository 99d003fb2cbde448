"""What counts as the same answer."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inference.trials.comparing import compare
from inference.types import ModelRef

LABELS = ModelRef(
    1,
    "m",
    "1.0.0",
    "text-classification",
    "0" * 64,
    2,
    ("no", "yes"),
    {},
    {"kind": "classification"},
    8,
    0,
    False,
    0,
    True,
)
VECTOR = replace(LABELS, labels=(), outputs=3, output_schema={"kind": "embedding", "dimensions": 3})
SCORES = replace(VECTOR, output_schema={"kind": "scores", "dimensions": 3})


def floats(*values: float) -> bytes:
    return np.array(values, dtype="<f4").tobytes()


@pytest.mark.parametrize(
    ("live", "given_", "candidate", "computed", "agreed", "difference"),
    [
        (LABELS, (0.2, 0.8), LABELS, (0.3, 0.7), True, 0.1),
        (LABELS, (0.2, 0.8), LABELS, (0.6, 0.4), False, 0.4),
        # Labels are compared by their names, whatever their order; one that the other does not have counts as 0.
        (LABELS, (0.2, 0.8), replace(LABELS, labels=("yes", "no")), (0.8, 0.2), True, 0.0),
        (LABELS, (0.2, 0.8), replace(LABELS, labels=("a", "b")), (0.1, 0.9), False, 0.9),
        (VECTOR, (1, 0, 0), VECTOR, (2, 0, 0), True, 0.0),
        (VECTOR, (1, 0, 0), VECTOR, (0, 1, 0), False, 1.0),
        (VECTOR, (0, 0, 0), VECTOR, (0, 0, 0), True, 0.0),
        (SCORES, (0.1, 0.5, 0.2), SCORES, (0.1, 0.9, 0.2), True, 0.4),
        (SCORES, (0.1, 0.5, 0.2), SCORES, (0.9, 0.5, 0.2), False, 0.8),
        (SCORES, (0.5,), SCORES, (0.52,), True, 0.02),
        (SCORES, (0.5,), SCORES, (0.6,), False, 0.1),
        (LABELS, (0.2, 0.8), VECTOR, (1, 0, 0), False, 1.0),
        (VECTOR, (1, 0, 0), replace(VECTOR, outputs=2), (1, 0), False, 1.0),
        (VECTOR, (1, 0, 0), VECTOR, (float("nan"), 0, 0), False, 1.0),
    ],
)
def test_agreement_and_difference(
    live: ModelRef,
    given_: tuple[float, ...],
    candidate: ModelRef,
    computed: tuple[float, ...],
    agreed: bool,
    difference: float,
) -> None:
    found = compare(live, floats(*given_), candidate, floats(*computed))
    assert found.agreed is agreed
    assert found.difference == pytest.approx(difference, abs=1e-6)


@given(values=hnp.arrays(np.float32, 3, elements=st.floats(-1000, 1000, width=32)))
def test_a_version_agrees_with_itself(values: "np.typing.NDArray[np.float32]") -> None:
    for ref in (VECTOR, SCORES):
        found = compare(ref, values.tobytes(), ref, values.tobytes())
        assert found.agreed
        assert found.difference == pytest.approx(0, abs=1e-5)
