"""Accuracy is the share of inputs whose most probable label is theirs; a precision is measured as it would serve."""

from pathlib import Path

import pytest

from inference.runtimes import measuring
from tests.inference.runtimes.test_families import load
from tests.support import hf_folders
from tests.support.hf_folders import TEXTS


def test_a_version_is_measured_as_it_would_serve(tmp_path: Path) -> None:
    runtime = load(hf_folders.write(tmp_path, "bert", outputs=3), "text-classification", 3, precision="int8")
    right = runtime.run(TEXTS).argmax(axis=1).tolist()
    wrong = [(right[0] + 1) % 3, *right[1:]]
    assert measuring.measure(runtime.spec, TEXTS, right).accuracy == 1
    measured = measuring.measure(runtime.spec, TEXTS, wrong)
    assert (measured.accuracy, measured.n, measured.precision) == (0.75, 4, "int8")
    assert measured.inputs_per_s > 0
    assert measured.alone_ms > 0


@pytest.mark.parametrize("labels", [[], [0]])
def test_there_must_be_a_label_for_each_input(labels: list[int], tmp_path: Path) -> None:
    runtime = load(hf_folders.write(tmp_path, "bert", outputs=3), "text-classification", 3)
    with pytest.raises(ValueError, match="one label for each"):
        measuring.measure(runtime.spec, TEXTS, labels)
