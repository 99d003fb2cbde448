import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.registry.artefacts import ArtefactError
from inference.runtimes import loading
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import Array, ContractError, Input, LoadError, RuntimeSpec
from tests.support import demo_models

LENGTHS = RuntimeSpec(
    name="lengths",
    version="1.0.0",
    runtime="text-embedding",
    artefact=Path("unused"),
    digest="",
    outputs=2,
    input_schema={"kind": "text", "max_chars": 100},
    max_batch_size=3,
    device="cpu",
)


class Lengths:
    """An honest runtime: each text becomes (its length, 1)."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def load(self, spec: RuntimeSpec) -> None: ...

    def warmup(self) -> None: ...

    def forward(self, inputs: Sequence[Input]) -> Array:
        self.batches.append(len(inputs))
        return np.array([[len(text), 1] for text in inputs], dtype=np.float32)


def broken(result: object) -> CheckedRuntime:
    class Broken(Lengths):
        def forward(self, inputs: Sequence[Input]) -> Array:
            return result  # type: ignore[return-value]

    return CheckedRuntime(LENGTHS, Broken())


def test_it_splits_over_the_batch_size_and_keeps_the_order() -> None:
    runtime = Lengths()
    result = CheckedRuntime(LENGTHS, runtime).run(["a" * length for length in range(8)])
    assert result[:, 0].tolist() == list(range(8))
    assert runtime.batches == [3, 3, 2]


def test_an_empty_batch_is_an_empty_result_and_runs_nothing() -> None:
    runtime = Lengths()
    result = CheckedRuntime(LENGTHS, runtime).run([])
    assert result.shape == (0, 2)
    assert result.dtype == np.float32
    assert runtime.batches == []


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (np.zeros((1, 2), np.float32), "shape"),
        (np.zeros((3, 2), np.float32), "shape"),
        (np.zeros((2, 3), np.float32), "shape"),
        (np.zeros(2, np.float32), "shape"),
        (np.zeros((2, 2), np.float64), "float64"),
        (np.zeros((2, 2), np.float16), "float16"),
        (np.array([[0, 1], [np.nan, 1]], np.float32), "not finite"),
        (np.array([[0, 1], [np.inf, 1]], np.float32), "not finite"),
        ([[0.0, 1.0], [0.0, 1.0]], "list"),
        (None, "NoneType"),
    ],
)
def test_a_runtime_that_breaks_its_contract_is_caught(result: object, reason: str) -> None:
    with pytest.raises(ContractError, match=reason):
        broken(result).run(["a", "b"])


def test_a_runtime_that_does_not_restore_the_order_is_caught_before_it_serves() -> None:
    class Sorted(Lengths):
        def forward(self, inputs: Sequence[Input]) -> Array:
            return super().forward(sorted(inputs, key=len))

    CheckedRuntime(LENGTHS, Lengths()).prove_order()
    with pytest.raises(ContractError, match="is not the answer to input"):
        CheckedRuntime(LENGTHS, Sorted()).prove_order()


@pytest.mark.parametrize("value", [1, None, b"text", np.zeros((8, 8), np.float32)])
def test_an_input_that_is_not_a_text_is_refused_and_nothing_runs(value: object) -> None:
    runtime = Lengths()
    with pytest.raises(ContractError, match="input 1"):
        CheckedRuntime(LENGTHS, runtime).run(["fine", value])  # type: ignore[list-item]
    assert runtime.batches == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("7", "is a str"),
        (np.zeros((8, 8)), "float64"),
        (np.zeros((8, 7), np.float32), "shape"),
        (np.full((8, 8), np.nan, np.float32), "not finite"),
    ],
)
def test_an_input_that_is_not_the_declared_tensor_is_refused(value: Input, reason: str) -> None:
    with pytest.raises(ContractError, match=f"input 0 .*{reason}"):
        demo_models.runtime("digits").run([value])


def copy_of(name: str, target: Path) -> Path:
    return Path(shutil.copytree(demo_models.artefact(name), target / "artefact"))


def test_a_changed_artefact_is_not_loaded(tmp_path: Path) -> None:
    artefact = copy_of("digits", tmp_path)
    spec = demo_models.spec("digits", directory=artefact)
    loading.load(spec)
    weights = bytearray((artefact / "network.safetensors").read_bytes())
    weights[-1] ^= 1
    (artefact / "network.safetensors").write_bytes(weights)
    with pytest.raises(ArtefactError, match="was registered"):
        loading.load(spec)


def test_a_pickle_beside_the_weights_is_not_loaded(tmp_path: Path) -> None:
    artefact = copy_of("digits", tmp_path)
    spec = demo_models.spec("digits", directory=artefact)
    (artefact / "network.pt").write_bytes(b"x")
    with pytest.raises(ArtefactError, match=r"network\.pt"):
        loading.load(spec)


def test_files_that_are_not_safetensors_inside_are_a_load_error(tmp_path: Path) -> None:
    artefact = copy_of("digits", tmp_path)
    (artefact / "network.safetensors").write_bytes(b"\x80\x04not safetensors at all")
    with pytest.raises(LoadError, match="cannot be read"):
        loading.load(demo_models.spec("digits", directory=artefact))


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("digits", {"outputs": 9}, "9 were declared"),
        ("digits", {"input_schema": {"kind": "tensor", "dtype": "float32", "shape": [6, 6]}}, "shape"),
        ("digits", {"runtime": "text-embedding"}, "takes text inputs"),
        ("digits", {"runtime": "text-embedding", "input_schema": {"kind": "text"}}, "has no config.json"),
        ("digits", {"runtime": "pickle"}, "Unknown runtime"),
        ("minilm", {"outputs": 768}, "768 were declared"),
        ("minilm", {"runtime": "tensor-classification"}, "takes tensor inputs"),
        ("sentiment", {"outputs": 3}, "3 were declared"),
    ],
)
def test_a_declaration_that_does_not_fit_the_weights_is_a_load_error(
    name: str, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(LoadError, match=reason):
        loading.load(replace(demo_models.spec(name), **changes))
