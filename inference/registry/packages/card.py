"""The card of a package, ``model.toml``: what the model is, takes, answers and needs, and examples that prove it.

``docs/serve-your-model.md`` describes every field. This module reads text that anybody may have written, imports neither
Django nor torch, and answers with a frozen :class:`Card` or with a :class:`PackageError` that names the field.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inference.registry.packages import examples, schemas
from inference.registry.packages.examples import Example
from inference.registry.packages.problems import PackageError, named
from inference.registry.packages.tables import CARD_FILE, Table
from inference.types import DEFAULT_POOL

MAX_CARD_BYTES: Final = 512 * 1024
MAX_DEPTH: Final = 16

NAME: Final = r"[a-z][a-z0-9._-]{0,62}"
VERSION: Final = r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(-[0-9A-Za-z.-]{1,32})?"
POOL: Final = r"(?!jobs$)[a-z][a-z0-9-]{0,31}"
DEVICE: Final = r"auto|cpu|cuda(:\d{1,2})?"
RUNTIMES: Final = (
    "text-classification",
    "text-embedding",
    "tensor-classification",
    "tensor-scoring",
    "tensor-echo",
    "image-classification",
    "pair-classification",
    "pair-scoring",
)
PRECISIONS: Final = ("float32", "bfloat16", "float16", "int8")
ACCELERATIONS: Final = ("none", "compile", "cuda-graphs")
"""The three tuples are those of ``inference.models``, which cannot be imported without Django; a test compares them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How a version runs."""

    max_batch_size: int
    max_batch_tokens: int
    max_queue_delay_ms: int
    device: str
    precision: str
    acceleration: str
    pool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A valid card. ``values`` is all of it as JSON can say it; ``options`` is its ``[options]`` table."""

    name: str
    version: str
    runtime: str
    title: str
    description: str
    licence: str
    labels: tuple[str, ...]
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    serving: Serving
    options: Mapping[str, Any]
    accuracy: float | None
    accuracy_note: str
    speed_note: str
    examples: tuple[Example, ...]
    values: Mapping[str, Any]

    @property
    def reference(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def files(self) -> frozenset[str]:
        """The files of the package that examples name."""
        return frozenset(example.file for example in self.examples if example.file)


def read(content: bytes) -> Card:
    """The card in the bytes of a ``model.toml``. Raises PackageError that names the field."""
    if len(content) > MAX_CARD_BYTES:
        raise PackageError(CARD_FILE, f"The card has {len(content):,} bytes; at most {MAX_CARD_BYTES:,} are read.")
    try:
        values = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise PackageError(CARD_FILE, "The card is not UTF-8 text.") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise PackageError(CARD_FILE, f"The card is not TOML: {error}") from error
    return parse(values)


def parse(values: Mapping[str, Any]) -> Card:
    """The card in a parsed ``model.toml``. Raises PackageError that names the field."""
    _require_json(values)
    top = Table(values)
    runtime = top.choice("runtime", RUNTIMES)
    contract = schemas.read(top, runtime)
    accuracy = top.table("accuracy")
    card = Card(
        name=top.text("name", most=63, pattern=NAME, like="lower-case letters, digits, dot, - and _, such as reviews"),
        version=top.text("version", most=64, pattern=VERSION, like="a semantic version such as 1.2.0"),
        runtime=runtime,
        title=top.text("title", most=100, default=""),
        description=top.text("description", most=500, default=""),
        licence=top.text("licence", most=200, like="Apache-2.0"),
        labels=contract.labels,
        input_schema=contract.input_schema,
        output_schema=contract.output_schema,
        serving=_serving(top.table("serving")),
        options=_options(top),
        accuracy=accuracy.number("value", least=0.0, most=1.0),
        accuracy_note=accuracy.text("note", most=2000, default=""),
        speed_note=accuracy.text("speed", most=2000, default=""),
        examples=examples.read(top, contract),
        values=values,
    )
    accuracy.done()
    top.done()
    if card.accuracy is not None and not card.accuracy_note:
        raise accuracy.refuse("note", "Say how the accuracy was measured: data, split, number, date.")
    return card


def _serving(table: Table) -> Serving:
    serving = Serving(
        max_batch_size=table.integer("max_batch_size", least=1, most=1024, default=32),
        max_batch_tokens=table.integer("max_batch_tokens", least=0, most=10_000_000, default=0),
        max_queue_delay_ms=table.integer("max_queue_delay_ms", least=0, most=1000, default=0),
        device=table.text("device", most=16, default="auto", pattern=DEVICE, like="auto, cpu, cuda or cuda:0"),
        precision=table.choice("precision", PRECISIONS, default=PRECISIONS[0]),
        acceleration=table.choice("acceleration", ACCELERATIONS, default=ACCELERATIONS[0]),
        pool=table.text("pool", most=32, default=DEFAULT_POOL, pattern=POOL, like="lower-case letters, not jobs"),
    )
    table.done()
    return serving


def _options(top: Table) -> dict[str, Any]:
    """The options of the runtime, which knows their keys and refuses others when a worker loads the version."""
    options = top.raw("options")
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise top.refuse("options", "Write a table, [options].")
    return dict(options)


def _require_json(values: Mapping[str, Any]) -> None:
    """TOML has dates and NaN, which the database's JSON has not, and arrays of any depth."""
    pending: list[tuple[Any, str, int]] = [(values, "", 0)]
    while pending:
        value, path, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise PackageError(f"{CARD_FILE}: {path}", f"Tables and lists are nested deeper than {MAX_DEPTH}.")
        if isinstance(value, dict):
            if any("\x00" in key for key in value):
                raise PackageError(f"{CARD_FILE}: {path}".rstrip(": "), "The name of a field has a NUL character.")
            pending += [(inner, f"{path}.{key}" if path else key, depth + 1) for key, inner in value.items()]
        elif isinstance(value, list):
            pending += [(inner, f"{path}[{index}]", depth + 1) for index, inner in enumerate(value)]
        elif isinstance(value, str):
            if "\x00" in value:
                raise PackageError(f"{CARD_FILE}: {path}", "The text has a NUL character.")
        elif type(value) is float:
            if value - value != 0.0:
                raise PackageError(f"{CARD_FILE}: {path}", f"{value} is not a finite number.")
        elif type(value) is int:
            if abs(value) > 2**63 - 1:
                raise PackageError(f"{CARD_FILE}: {path}", "The number is larger than 64 bits hold.")
        elif type(value) is not bool:
            raise PackageError(f"{CARD_FILE}: {path}", f"Write {named(str(value))} as a text in quotation marks.")
