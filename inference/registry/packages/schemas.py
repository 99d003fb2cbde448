"""What a model takes and answers, from the card's ``[input]``, ``labels`` and ``dimensions``."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inference.registry.packages.problems import named
from inference.registry.packages.tables import Table

MAX_CHARS: Final = 1_000_000
MAX_LABELS: Final = 10_000
MAX_LABEL_CHARS: Final = 100
MAX_DIMENSIONS: Final = 65_536
MAX_RANK: Final = 6
MAX_NUMBERS: Final = 1_000_000
MAX_SIDE: Final = 4096
RESIZES: Final = ("crop", "stretch", "pad")
CHANNELS: Final = (1, 3)


@dataclass(frozen=True, slots=True)
class Contract:
    """What goes in and comes out. ``outputs`` is how many numbers answer one input."""

    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    labels: tuple[str, ...]
    outputs: int

    @property
    def kind(self) -> str:
        """``text``, ``pair``, ``image`` or ``tensor``."""
        return str(self.input_schema["kind"])

    @property
    def classifies(self) -> bool:
        return bool(self.labels)


def read(top: Table, runtime: str) -> Contract:
    """The contract of a card for ``runtime``. Raises PackageError that names the field."""
    kind = runtime.partition("-")[0]
    table = top.table("input")
    input_schema = {"kind": kind, **_INPUTS[kind](table)}
    table.done()
    if runtime.endswith("-classification"):
        labels = _labels(top)
        _unwanted(top, "dimensions", "A classification has labels and no dimensions.")
        return Contract(input_schema, {"kind": "classification"}, labels, len(labels))
    _unwanted(top, "labels", f"Only a classification has labels; the runtime is {runtime}.")
    if runtime == "pair-scoring":
        _unwanted(top, "dimensions", "Pair scoring answers with one score.")
        return Contract(input_schema, {"kind": "scores", "dimensions": 1}, (), 1)
    if runtime == "tensor-echo":
        _unwanted(top, "dimensions", "An echo has as many outputs as its input has numbers.")
        dimensions = math.prod(input_schema["shape"])
    else:
        dimensions = top.integer("dimensions", least=1, most=MAX_DIMENSIONS)
    answers = "scores" if runtime == "tensor-scoring" else "embedding"
    return Contract(input_schema, {"kind": answers, "dimensions": dimensions}, (), dimensions)


def _texts(table: Table) -> dict[str, Any]:
    return {"max_chars": table.integer("max_chars", least=1, most=MAX_CHARS, default=10_000)}


def _tensor(table: Table) -> dict[str, Any]:
    shape = table.raw("shape")
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= MAX_RANK
        or not all(type(side) is int and side >= 1 for side in shape)
    ):
        raise table.refuse("shape", f"Write 1 to {MAX_RANK} sizes such as [8, 8], not {named(shape)}.")
    if math.prod(shape) > MAX_NUMBERS:
        raise table.refuse("shape", f"{named(shape)} has more than {MAX_NUMBERS:,} numbers.")
    schema: dict[str, Any] = {"dtype": "float32", "shape": shape}
    table.choice("dtype", ["float32"], default="float32")
    minimum, maximum = table.number("minimum"), table.number("maximum")
    if minimum is not None:
        schema["minimum"] = minimum
    if maximum is not None:
        schema["maximum"] = maximum
    if minimum is not None and maximum is not None and minimum >= maximum:
        raise table.refuse("maximum", f"It must be greater than the minimum, {minimum:g}.")
    return schema


def _image(table: Table) -> dict[str, Any]:
    height = table.integer("height", least=1, most=MAX_SIDE)
    width = table.integer("width", least=1, most=MAX_SIDE)
    channels = table.integer("channels", least=1, most=3, default=3)
    if channels not in CHANNELS:
        raise table.refuse("channels", "Write 1 for grey or 3 for colours.")
    if height * width * channels > MAX_NUMBERS * 4:
        raise table.refuse("height", f"An image of {height}×{width} with {channels} channels is too large.")
    resize = table.choice("resize", RESIZES, default=RESIZES[0])
    return {"height": height, "width": width, "channels": channels, "resize": resize}


_INPUTS: Final = {"text": _texts, "pair": _texts, "tensor": _tensor, "image": _image}


def _labels(top: Table) -> tuple[str, ...]:
    labels = top.raw("labels")
    if not isinstance(labels, list) or not 2 <= len(labels) <= MAX_LABELS:
        raise top.refuse("labels", f'Write 2 to {MAX_LABELS:,} labels such as ["negative", "positive"].')
    for index, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip() or not label.isprintable() or len(label) > MAX_LABEL_CHARS:
            raise top.refuse(
                f"labels[{index}]", f"{named(label)} is no text of 1 to {MAX_LABEL_CHARS} printable characters."
            )
    if len(set(labels)) != len(labels):
        twice = next(label for index, label in enumerate(labels) if label in labels[:index])
        raise top.refuse("labels", f"{named(twice)} stands there twice.")
    return tuple(labels)


def _unwanted(top: Table, key: str, reason: str) -> None:
    if top.has(key):
        raise top.refuse(key, reason)
