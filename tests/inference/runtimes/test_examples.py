"""A card's examples are tried as a customer's inputs would be; the first that is wrong is named."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inference.runtimes import examples
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import ContractError
from tests.inference.runtimes.test_families import EXPECTED, load
from tests.support import hf_folders
from tests.support.hf_folders import PAIRS
from tests.support.input_kinds import file_of


@dataclass(frozen=True)
class Example:
    input: Any
    output: tuple[float, ...]
    tolerance: float = 0.01
    file: str = ""


@dataclass(frozen=True)
class Card:
    examples: tuple[Example, ...]


@pytest.fixture
def pairs(tmp_path: Path) -> CheckedRuntime:
    return load(hf_folders.write(tmp_path / "pairs", "bert", outputs=3), "pair-classification", 3)


def pair(number: int, **changes: Any) -> Example:
    text, other = PAIRS[number]
    return Example({"text": text, "pair": other}, tuple(EXPECTED["bert pairs"][number]), **changes)


def test_examples_that_hold_pass_and_one_that_does_not_is_named(pairs: CheckedRuntime, tmp_path: Path) -> None:
    examples.check(pairs, Card((pair(0), pair(1))), tmp_path)
    text, other = PAIRS[1]
    yes, no, neither = EXPECTED["bert pairs"][1]
    wrong = Example({"text": text, "pair": other}, (yes + 0.05, no - 0.05, neither))
    with pytest.raises(ContractError, match=r"examples\[1\]\.output\[[01]\] is .* within 0\.01"):
        examples.check(pairs, Card((pair(0), wrong)), tmp_path)
    examples.check(pairs, Card((Example(wrong.input, wrong.output, tolerance=0.1),)), tmp_path)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("words", r"examples\[0\]\.input: The model takes two texts"),
        ({"text": "a"}, r"examples\[0\]\.input"),
        ({"text": "a", "pair": "b" * 2000}, r"examples\[0\]\.input\.pair: .*at most 1,000"),
    ],
)
def test_an_input_that_a_customer_could_not_send_is_refused(
    given: Any, reason: str, pairs: CheckedRuntime, tmp_path: Path
) -> None:
    with pytest.raises(ContractError, match=reason):
        examples.check(pairs, Card((Example(given, (0.3, 0.3, 0.4)),)), tmp_path)


def test_an_image_comes_out_of_the_package_and_from_nowhere_else(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    folder = tmp_path / "package"
    folder.mkdir()
    save_file(hf_folders.draw(hf_folders.resnet_shapes(deep=False)), folder / "model.safetensors")
    (folder / "example.png").write_bytes(file_of(hf_folders.picture()))
    (tmp_path / "secret.png").write_bytes(file_of(hf_folders.picture()))
    options = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    # The digest is of all files, which the load checks.
    (folder / "example.png").rename(folder.parent / "example.png")
    runtime = load(folder, "image-classification", 3, options=options)
    (folder.parent / "example.png").rename(folder / "example.png")
    output = tuple(EXPECTED["resnet basic"])
    examples.check(runtime, Card((Example({"file": "example.png"}, output, file="example.png"),)), folder)
    for name in ("../secret.png", "missing.png"):
        with pytest.raises(ContractError, match=r"examples\[0\]\.input\.file cannot be read"):
            examples.check(runtime, Card((Example({"file": name}, output, file=name),)), folder)
