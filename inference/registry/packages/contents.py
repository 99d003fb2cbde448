"""Looking into each file of an unpacked package: it must be what its suffix says, and nothing that could be run.

The rules of safetensors are checked on the header alone: names, types, shapes and places must cover the file exactly, so
that a reader in any language finds the same numbers and nothing is hidden behind them.
"""

import json
import math
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from inference.registry import artefacts
from inference.registry.packages import card as cards
from inference.registry.packages import tokenizers
from inference.registry.packages.card import Card
from inference.registry.packages.limits import MAX_HEADER_BYTES, MAX_IMAGE_BYTES, MAX_JSON_BYTES, MAX_TEXT_BYTES
from inference.registry.packages.problems import PackageError, named, placed
from inference.registry.packages.tables import CARD_FILE

_LENGTH: Final = struct.Struct("<Q")
_METADATA: Final = "__metadata__"
_DTYPE_BYTES: Final = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
_WEIGHTS: Final = "model.safetensors"
_NEEDS_WEIGHTS: Final = "tensor-echo"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"


def check(folder: Path, *, trusted: bool) -> Card:
    """The card of the package in ``folder``, all of whose files were looked into. Raises PackageError.

    ``trusted`` is a package of the platform's own staff: its tokenizer may be of any make.
    """
    if not (folder / CARD_FILE).is_file():
        raise PackageError(CARD_FILE, "The package has no card; put a model.toml at its top.")
    card = cards.read((folder / CARD_FILE).read_bytes()[: cards.MAX_CARD_BYTES + 1])
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(names):
        file = folder / name
        if file.stat().st_size == 0:
            raise PackageError(placed(name), "The file is empty.")
        content = _CHECKS[file.suffix](name, file)
        if not trusted and file.name == tokenizers.FILE:
            tokenizers.check(name, content)
    if card.runtime != _NEEDS_WEIGHTS and not any(name.endswith(".safetensors") for name in names):
        raise PackageError(_WEIGHTS, "The package has no weights; put a model.safetensors into it.")
    for missing in sorted(card.files - names):
        raise PackageError(placed(missing), "An example names this file, but the package does not have it.")
    return card


def digest(folder: Path) -> str:
    """The digest of the folder as ``inference.registry.artefacts`` defines it; what it refuses is refused here too."""
    try:
        return artefacts.digest(folder)
    except artefacts.ArtefactError as error:
        raise PackageError("package", str(error).replace(str(folder), "the package")) from error


def _check_safetensors(name: str, file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(_LENGTH.size)
        length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else size
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - _LENGTH.size):
            raise PackageError(placed(name), "It is no safetensors file: its header has an impossible length.")
        header = _json(name, stream.read(length))
    if not isinstance(header, dict):
        raise PackageError(placed(name), "It is no safetensors file: its header is no object.")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise PackageError(placed(name), "The metadata of its header are no texts.")
    if not header:
        raise PackageError(placed(name), "It holds no tensors.")
    spans = sorted(_span(name, tensor, entry) for tensor, entry in header.items())
    position = 0
    for start, end in spans:
        if start != position:
            raise PackageError(
                placed(name), "Its tensors overlap, or leave bytes between them that belong to no tensor."
            )
        position = end
    if position != size - _LENGTH.size - length:
        raise PackageError(placed(name), "Its tensors do not end where the file ends.")


def _span(name: str, tensor: str, entry: Any) -> tuple[int, int]:
    """Where a tensor's bytes lie, having compared them with its type and shape."""
    place = f"{placed(name)}: {named(tensor)}"
    if not isinstance(entry, Mapping) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise PackageError(place, "A tensor has dtype, shape and data_offsets, nothing else.")
    shape, offsets = entry["shape"], entry["data_offsets"]
    width = _DTYPE_BYTES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if width is None:
        raise PackageError(place, f"The type {named(entry['dtype'])} is unknown.")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise PackageError(place, "Its shape or its place are no lists of natural numbers.")
    if len(shape) > 8 or offsets[1] - offsets[0] != width * math.prod(shape):
        raise PackageError(place, "Its shape and the number of its bytes do not agree.")
    return offsets[0], offsets[1]


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 2**48 for one in value)


def _check_json(name: str, file: Path) -> Any:
    return _json(name, _bounded(name, file, MAX_JSON_BYTES))


def _json(name: str, content: bytes) -> Any:
    try:
        return json.loads(content.decode(), object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except RecursionError as error:
        raise PackageError(placed(name), "Its JSON is nested too deeply.") from error
    except ValueError as error:
        raise PackageError(placed(name), f"It is not JSON: {error}") from error


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {named(twice)} stands there twice")
    return values


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _check_text(name: str, file: Path) -> None:
    try:
        text = _bounded(name, file, MAX_TEXT_BYTES).decode()
    except UnicodeDecodeError as error:
        raise PackageError(placed(name), "It is not UTF-8 text.") from error
    if "\x00" in text:
        raise PackageError(placed(name), "It has a NUL character and is no text.")


def _magic(magic: bytes, what: str) -> Callable[[str, Path], None]:
    def check_image(name: str, file: Path) -> None:
        if not _bounded(name, file, MAX_IMAGE_BYTES).startswith(magic):
            raise PackageError(placed(name), f"It is no {what} image.")

    return check_image


def _bounded(name: str, file: Path, most: int) -> bytes:
    size = os.stat(file).st_size  # noqa: PTH116 - beside the other bounds, which take sizes
    if size > most:
        raise PackageError(placed(name), f"It has {size:,} bytes; such a file may have {most:,}.")
    return file.read_bytes()


_CHECKS: Final[Mapping[str, Callable[[str, Path], Any]]] = {
    ".safetensors": _check_safetensors,
    ".json": _check_json,
    ".toml": _check_text,
    ".txt": _check_text,
    ".md": _check_text,
    ".png": _magic(_PNG, "PNG"),
    ".jpg": _magic(_JPEG, "JPEG"),
}
