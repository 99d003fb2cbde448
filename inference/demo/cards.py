"""Model cards: what a demo model is, where it comes from, and how good it is, measured."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
CARD = "model.json"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Accuracy on one held-out set. `majority` is what always answering the most frequent class would reach."""

    data: str
    n: int
    accuracy: float
    majority: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoCard:
    """The content of a `model.json`; `accuracy` is None for models that do not classify."""

    name: str
    version: str
    runtime: str
    description: str
    labels: tuple[str, ...]
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    max_batch_size: int
    accuracy: float | None
    accuracy_note: str
    measurements: tuple[Measurement, ...] = field(default=())
    licence: str
    source: str

    @property
    def directory(self) -> Path:
        """Where the card and the trained weights lie."""
        return ROOT / self.name / self.version

    @property
    def outputs(self) -> int:
        """Columns of a result: the number of labels, or the dimensions of the embedding."""
        return len(self.labels) or int(self.output_schema["dimensions"])

    @property
    def needs_encoder(self) -> bool:
        """Whether the artefact holds the MiniLM encoder beside the trained weights."""
        return self.runtime.startswith("text-")


def cards() -> tuple[DemoCard, ...]:
    """Return every demo model version, sorted by name and then by version, oldest first."""
    found = [read(file) for file in ROOT.glob(f"*/*/{CARD}")]
    return tuple(sorted(found, key=lambda card: (card.name, [int(part) for part in card.version.split(".")])))


def read(file: Path) -> DemoCard:
    """Read one `model.json`; TypeError when a field is missing or unknown."""
    values = json.loads(file.read_text(encoding="utf-8"))
    values["labels"] = tuple(values["labels"])
    values["measurements"] = tuple(Measurement(**measurement) for measurement in values["measurements"])
    return DemoCard(**values)


def write(card: DemoCard) -> None:
    """Write the card to its `model.json`, replacing the one that is there."""
    card.directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(card), indent=2, ensure_ascii=False)
    (card.directory / CARD).write_text(text + "\n", encoding="utf-8")
