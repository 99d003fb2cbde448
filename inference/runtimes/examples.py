"""The examples of a model's card against the loaded model: what its maker promises is tried before the first answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from inference.inputs import canonical, json_inputs
from inference.runtimes.inputs import decode
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import ContractError, Input, RuntimeSpec
from inference.types import ImageFile
from mlplatform.lib.errors import PlatformError

_SHOWN = 8


class Example(Protocol):
    """An example as ``inference.registry.packages`` reads it. ``file`` names the image in the package; else it is empty."""

    @property
    def input(self) -> Any: ...
    @property
    def output(self) -> Sequence[float]: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def file(self) -> str: ...


class Card(Protocol):
    """The part of a card that is read here."""

    @property
    def examples(self) -> Sequence[Example]: ...


def check(runtime: CheckedRuntime, card: Card, folder: Path) -> None:
    """Run every example of the card; images lie in ``folder``. Raises ContractError that names the first wrong one.

    Inputs go through the same canonical bytes as a customer's, so an example proves the preparation of inputs as well.
    """
    inputs = [
        _read(runtime.spec, example, folder, place=f"examples[{index}]") for index, example in enumerate(card.examples)
    ]
    for index, (example, row) in enumerate(zip(card.examples, runtime.run(inputs), strict=True)):
        wanted = np.asarray(example.output, dtype=np.float32)
        if wanted.shape != row.shape:
            raise ContractError(f"examples[{index}] expects {wanted.size} numbers; the model gives {row.size}.")
        off = np.abs(row - wanted)
        worst = int(np.argmax(off))
        if off[worst] > example.tolerance:
            given = ", ".join(f"{number:.4f}" for number in row[:_SHOWN])
            raise ContractError(
                f"examples[{index}].output[{worst}] is {row[worst]:.4f} and should be {wanted[worst]:.4f} within "
                f"{example.tolerance:g}; the model gives [{given}{', …' if row.size > _SHOWN else ''}]."
            )


def _read(spec: RuntimeSpec, example: Example, folder: Path, *, place: str) -> Input:
    field = f"{place}.input"
    try:
        given = _image(folder, example.file) if example.file else json_inputs.read(_plain(example.input), field=field)
        return decode(canonical.encode(spec.input_schema, given, field=field))
    except PlatformError as problem:
        raise ContractError(f"{problem.field or field}: {problem.detail}") from problem
    except OSError as error:
        raise ContractError(f"{field}.file cannot be read: {error.strerror}.") from error


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _image(folder: Path, name: str) -> ImageFile:
    file = (folder / name).resolve()
    if folder.resolve() not in file.parents:
        raise FileNotFoundError(2, "it lies outside the package")
    return ImageFile(file.read_bytes())
