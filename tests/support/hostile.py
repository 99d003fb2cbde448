"""Models of tenants that hurt the process that runs them, made by the tests that need them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from inference.registry import artefacts
from inference.runtimes import loading
from inference.runtimes.protocol import RuntimeSpec
from tests.support import hf_folders

HARMLESS: Final = "the blue lamp"
PANICS: Final = "a" * 40 + "b"
HANGS: Final = "a" * 2300
GROWS: Final = "Ω" * 10

_CARD: Final = """
name = "{name}"
version = "1.0.0"
runtime = "text-embedding"
licence = "MIT"
dimensions = {dimensions}

[input]
max_chars = 10000

[[examples]]
input = "{text}"
output = {row}
"""
_REGEX_THAT_PANICS: Final = "(a|a)*$"
_REGEX_THAT_HANGS: Final = "a{0,1500}a{0,1500}(?!a)(?<=b)"


def split(regex: str) -> dict[str, Any]:
    """A tokenizer's part that runs a pattern over each text."""
    return {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}}


def growing(times: int) -> dict[str, Any]:
    """A tokenizer's part that makes ten letters Ω 4 ** ``times`` times as many."""
    one = {"type": "Replace", "pattern": {"String": "Ω"}, "content": "ΩΩΩΩ"}
    return {"normalizer": {"type": "Sequence", "normalizers": [one] * times}}


PANICKING: Final = split(_REGEX_THAT_PANICS)
HANGING: Final = split(_REGEX_THAT_HANGS)
GROWING: Final = growing(14)


def write(folder: Path, parts: Mapping[str, Any]) -> Path:
    """An encoder whose tokenizer has these ``parts`` in place of honest ones."""
    hf_folders.write(folder, "bert")
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | parts))
    return folder


def write_package(folder: Path, parts: Mapping[str, Any], *, name: str) -> Path:
    """As :func:`write`, with a card whose example is harmless."""
    write(folder, parts)
    row = loading.load(spec(folder, private=False)).run([HARMLESS])[0]
    (folder / "model.toml").write_text(_CARD.format(name=name, dimensions=row.size, text=HARMLESS, row=row.tolist()))
    return folder


def spec(folder: Path, *, name: str = "evil", private: bool = True) -> RuntimeSpec:
    """The description of the model in ``folder``, of a tenant unless not ``private``."""
    return RuntimeSpec(
        name=name,
        version="1.0.0",
        runtime="text-embedding",
        artefact=folder,
        digest=artefacts.digest(folder),
        outputs=hf_folders.HIDDEN,
        input_schema={"kind": "text"},
        max_batch_size=8,
        device="cpu",
        private=private,
    )
