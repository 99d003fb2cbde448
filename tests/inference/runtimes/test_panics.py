"""A library in Rust that panics on a customer's text: an error of that input, and of nothing else."""

from pathlib import Path

import pytest

from inference.batching.messages import ItemMessage
from inference.runtimes import loading
from inference.runtimes.panics import contained
from inference.runtimes.protocol import RuntimeFault
from inference.worker import executor
from tests.support import hf_folders, hostile


def test_the_input_fails_and_its_neighbours_are_answered(tmp_path: Path) -> None:
    folder = hostile.write(tmp_path, hostile.PANICKING)
    runtime = loading.load(hostile.spec(folder, private=False))
    texts = [hostile.HARMLESS, hostile.PANICS, "a cat"]
    outcome = executor.compute(runtime, [ItemMessage(b"t" + text.encode(), b"", "", 1, 0) for text in texts])
    assert list(outcome.problems) == [1]
    assert "panicked" in outcome.problems[1]
    assert [scores is not None for scores in outcome.results] == [True, False, True]
    assert runtime.run([hostile.HARMLESS]).shape == (1, hf_folders.HIDDEN), "the model goes on"


def test_orders_to_the_process_are_no_panics() -> None:
    for order in (SystemExit, KeyboardInterrupt):
        with pytest.raises(order), contained():
            raise order
    with pytest.raises(ValueError, match="as it was"), contained():
        raise ValueError("as it was")


def test_a_fault_is_what_every_runtime_may_raise() -> None:
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    with pytest.raises(RuntimeFault, match="index out of bounds"), contained():
        raise panic("index out of bounds")
