"""The examples of a card: inputs with the outputs that the model must give for them, before it may answer calls."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from inference.registry.packages.problems import named
from inference.registry.packages.schemas import Contract
from inference.registry.packages.tables import Table

MAX_EXAMPLES: Final = 32
MAX_TOLERANCE: Final = 0.1
DEFAULT_TOLERANCE: Final = 0.01
FILE_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._/-]*\.(png|jpg)"
_SUM_TOLERANCE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Example:
    """``input`` as the card has it: a text, ``{text, pair}``, nested lists, or ``{file}``, whose ``file`` stands apart."""

    input: Any
    output: tuple[float, ...]
    tolerance: float
    file: str = ""


def read(top: Table, contract: Contract) -> tuple[Example, ...]:
    """The card's examples, at least one. Raises PackageError that names the example and its field."""
    values = top.raw("examples")
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_EXAMPLES:
        raise top.refuse("examples", f"Write 1 to {MAX_EXAMPLES} tables [[examples]] with input and output.")
    found = []
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise top.refuse(f"examples[{index}]", "Write a table [[examples]] with input and output.")
        found.append(_example(Table(value, f"examples[{index}]."), contract))
    return tuple(found)


def _example(table: Table, contract: Contract) -> Example:
    given = table.raw("input")
    file = ""
    if contract.kind == "text":
        _require_text(table, "input", given, contract)
    elif contract.kind == "pair":
        pair = table.table("input")
        for key in ("text", "pair"):
            _require_text(pair, key, pair.raw(key), contract)
        pair.done()
    elif contract.kind == "image":
        image = table.table("input")
        file = image.text("file", most=200, pattern=FILE_NAME, like="the name of a file beside it, such as example.png")
        image.done()
    else:
        _require_tensor(table, given, contract)
    tolerance = table.number("tolerance", least=0.0, most=MAX_TOLERANCE)
    example = Example(given, _output(table, contract), DEFAULT_TOLERANCE if tolerance is None else tolerance, file)
    table.done()
    return example


def _require_text(table: Table, key: str, value: Any, contract: Contract) -> None:
    if not isinstance(value, str) or not value.strip():
        raise table.refuse(key, f"The model takes texts; this is {named(value)}.")
    limit = int(contract.input_schema["max_chars"])
    if len(value) > limit:
        raise table.refuse(key, f"The text has {len(value):,} characters; input.max_chars is {limit:,}.")


def _require_tensor(table: Table, value: Any, contract: Contract) -> None:
    schema = contract.input_schema
    low, high = float(schema.get("minimum", -math.inf)), float(schema.get("maximum", math.inf))
    level: list[Any] = [value]
    for size in schema["shape"]:
        if not all(isinstance(part, list) and len(part) == size for part in level):
            raise table.refuse("input", f"It does not have the shape {list(schema['shape'])}.")
        level = [inner for part in level for inner in part]
    for number in level:
        if type(number) not in {int, float} or not low <= number <= high:
            raise table.refuse("input", f"{named(number)} is no number within the bounds of the input.")


def _output(table: Table, contract: Contract) -> tuple[float, ...]:
    value = table.raw("output")
    numbers: Sequence[Any] = [value] if contract.outputs == 1 and not isinstance(value, list) else value
    if not isinstance(numbers, list) or len(numbers) != contract.outputs:
        wanted = "one score for each label, in their order" if contract.classifies else f"{contract.outputs:,} numbers"
        raise table.refuse("output", f"Write {wanted}.")
    for index, number in enumerate(numbers):
        if type(number) not in {int, float} or not math.isfinite(number):
            raise table.refuse(f"output[{index}]", f"{named(number)} is no number.")
    if contract.classifies and not _probabilities(numbers):
        raise table.refuse("output", "The scores of the labels are probabilities: from 0 to 1, with the sum 1.")
    return tuple(float(number) for number in numbers)


def _probabilities(numbers: Sequence[float]) -> bool:
    return all(0.0 <= number <= 1.0 for number in numbers) and abs(sum(numbers) - 1.0) <= _SUM_TOLERANCE
