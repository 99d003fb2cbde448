"""A library in Rust that panics on a customer's text: an error of that input, and of nothing else."""

import json
from pathlib import Path

import pytest

from inference import artefacts
from inference.batching.messages import ItemMessage
from inference.runtimes import loading
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.panics import contained
from inference.runtimes.protocol import RuntimeFault, RuntimeSpec
from inference.working import batches
from tests.support import hf_folders

EVIL = "a" * 40 + "b"


def panicking(folder: Path) -> CheckedRuntime:
    """A model whose tokenizer panics on ``EVIL``; none like it can be pushed by a tenant any more."""
    hf_folders.write(folder, "bert")
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "(a|a)*$"},
        "behavior": "Isolated",
        "invert": False,
    }
    file.write_text(json.dumps(tokenizer))
    return loading.load(
        RuntimeSpec(
            name="evil",
            version="1.0.0",
            runtime="text-embedding",
            artefact=folder,
            digest=artefacts.digest(folder),
            outputs=hf_folders.HIDDEN,
            input_schema={"kind": "text"},
            max_batch_size=8,
            device="cpu",
        )
    )


def test_the_input_fails_and_its_neighbours_are_answered(tmp_path: Path) -> None:
    runtime = panicking(tmp_path)
    texts = ["the blue lamp", EVIL, "a cat"]
    outcome = batches.compute(runtime, [ItemMessage(b"t" + text.encode(), b"", "", 1, 0) for text in texts])
    assert list(outcome.problems) == [1]
    assert "panicked" in outcome.problems[1]
    assert [scores is not None for scores in outcome.results] == [True, False, True]
    assert runtime.run(["the blue lamp"]).shape == (1, hf_folders.HIDDEN), "the model goes on"


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
