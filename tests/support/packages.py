"""Model packages for tests: a small honest one, as a folder or a zip, that each test spoils in its own way."""

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

CARD = """
name = "shapes"
version = "1.0.0"
runtime = "tensor-classification"
title = "Shapes"
description = "Tells circles from squares."
licence = "MIT"
labels = ["circle", "square"]

[input]
shape = [2, 2]
minimum = 0
maximum = 1

[serving]
max_batch_size = 16

[accuracy]
value = 0.9
note = "On 100 held-out shapes."

[[examples]]
input = [[0, 0], [1, 1]]
output = [0.25, 0.75]
"""


def safetensors(tensors: Mapping[str, bytes], *, dtype: str = "U8") -> bytes:
    """A safetensors file of one-dimensional tensors."""
    header: dict[str, object] = {}
    position = 0
    for name, content in tensors.items():
        header[name] = {"dtype": dtype, "shape": [len(content)], "data_offsets": [position, position + len(content)]}
        position += len(content)
    return raw_safetensors(json.dumps(header).encode(), b"".join(tensors.values()))


def raw_safetensors(header: bytes, data: bytes) -> bytes:
    """A file with this header, true or not."""
    return struct.pack("<Q", len(header)) + header + data


WEIGHTS = safetensors({"scale": b"\x01\x02\x03\x04"})


def files(card: str = CARD, **more: bytes) -> dict[str, bytes]:
    """The files of the package by name; ``more`` has ``__`` for dots."""
    return {
        "model.toml": card.encode(),
        "network.safetensors": WEIGHTS,
        **{name.replace("__", "."): content for name, content in more.items()},
    }


def folder(path: Path, content: Mapping[str, bytes] | None = None) -> Path:
    """The package as a folder."""
    path.mkdir(parents=True, exist_ok=True)
    for name, data in (content if content is not None else files()).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def zipped(content: Mapping[str, bytes] | None = None, *, prefix: str = "") -> bytes:
    """The package as a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (content if content is not None else files()).items():
            archive.writestr(f"{prefix}{name}", data)
    return buffer.getvalue()
