"""Inputs as canonical typed bytes: what is validated, hashed, cached and sent to the worker is one and the same.

Text is ``t`` + UTF-8. A pair of texts is ``p`` + the length of the first in bytes + both in UTF-8, so that what stands at
the end of one is not taken for the beginning of the other. A tensor is ``f`` + rank + dimensions + little-endian float32
values, an image ``i`` + rank + dimensions + its pixels, one byte each. So shapes, types and texts never collide; ``1`` and
``1.0`` are the same float32 value and share an answer, ``true`` is refused, ``-0.0`` keeps its sign. An image
that is not unpacked yet is ``j`` + its file, and by that it is known to caches: equal files share an answer.

``inference.runtimes.inputs`` reads them again.
"""

import hashlib
import math
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inference.inputs import images
from inference.types import REFUSE, FlatTensor, ImageFile, ModelRef, TextPair
from mlplatform.lib.errors import invalid

_FLOAT32_MAX: Final = 3.4028234663852886e38
_TEXT: Final = b"t"
_PAIR: Final = b"p"
_TENSOR: Final = b"f"
_IMAGE: Final = b"i"
_FILE: Final = b"j"
_MAX_CHARS: Final = 10_000
_KEY_HEAD: Final = struct.Struct("<QIQ")


def encode(schema: Mapping[str, Any], value: Any, *, field: str) -> bytes:
    """The canonical bytes of ``value``. Raises INVALID_INPUT that names the field and what the model takes."""
    kind = schema["kind"]
    if kind == "text":
        return _TEXT + _utf8(schema, value, field, takes="text")
    if kind == "pair":
        return _encode_pair(schema, value, field)
    if kind == "image":
        return _encode_image(schema, value, field)
    if isinstance(value, np.ndarray | FlatTensor):
        return _encode_array(schema, value, field)
    return _encode_tensor(schema, value, field)


def sent(schema: Mapping[str, Any], value: Any, *, field: str) -> bytes:
    """As :func:`encode`, but an image stays the file that it is, of which only the head was looked at: unpacking it costs, and is
    left to :func:`unpacked`. Raises INVALID_INPUT as well for what its head shows."""
    if schema["kind"] != "image":
        return encode(schema, value, field=field)
    data = _file_of(value, field)
    images.size(data, field=field)
    return _FILE + data


def is_packed(payload: bytes) -> bool:
    """Whether it is an image that was not unpacked yet."""
    return payload[:1] == _FILE


def pixels_of(payload: bytes, *, field: str) -> int:
    """The pixels of an image that was not unpacked yet; 0 for everything else."""
    return images.size(payload[1:], field=field) if is_packed(payload) else 0


def unpacked(schema: Mapping[str, Any], payload: bytes, *, field: str, until: float) -> bytes:
    """What :func:`sent` gave, as :func:`encode` gives it. Raises INVALID_INPUT for a damaged image, and TIMEOUT where it could
    not be begun ``until`` then (monotonic clock)."""
    return _image(schema, payload[1:], field, until) if is_packed(payload) else payload


def cache_key(ref: ModelRef, payload: bytes, *, tenant_id: int, truncate: int = REFUSE) -> bytes:
    """32 bytes that name this answer: of this tenant unless staff share the model's cache, and of this version and artefact.

    Two versions can run one artefact with other options, such as another precision, and then answer differently. So does a
    text that is cut after so many tokens (``truncate`` above 0). One that is cut at the model's limit has the key of the
    whole one, for a version has one limit: an answer tells whether its text was cut (see ``inference.cache.store``).
    """
    scope = 0 if ref.shared_cache else tenant_id
    head = _KEY_HEAD.pack(scope, ref.cache_epoch, ref.version_id)
    # No text has a NUL, so nothing else ends like this.
    cut = b"\x00" + struct.pack("<I", truncate) if truncate > 0 else b""
    return hashlib.sha256(head + bytes.fromhex(ref.digest) + payload + cut).digest()


def _utf8(schema: Mapping[str, Any], value: Any, field: str, *, takes: str) -> bytes:
    if not isinstance(value, str):
        raise invalid(field, f"The model takes {takes}; this is {_name_of(value)}.")
    limit = int(schema.get("max_chars", _MAX_CHARS))
    if not value.strip():
        raise invalid(field, "The text is empty.")
    if len(value) > limit:
        raise invalid(field, f"The text has {len(value):,} characters; the model takes at most {limit:,}.")
    if "\x00" in value:
        raise invalid(field, "The text has a NUL character.")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise invalid(field, f"The text has a lone surrogate at character {error.start}.") from error


def _encode_pair(schema: Mapping[str, Any], value: Any, field: str) -> bytes:
    if not isinstance(value, TextPair):
        raise invalid(field, f"The model takes two texts, text and pair; this is {_name_of(value)}.")
    text = _utf8(schema, value.text, f"{field}.text", takes="text")
    pair = _utf8(schema, value.pair, f"{field}.pair", takes="text")
    return _PAIR + struct.pack("<I", len(text)) + text + pair


def _encode_image(schema: Mapping[str, Any], value: Any, field: str) -> bytes:
    return _image(schema, _file_of(value, field), field, None)


def _image(schema: Mapping[str, Any], data: bytes, field: str, until: float | None) -> bytes:
    pixels = images.pixels(data, schema, field=field, until=until)
    return _IMAGE + struct.pack("<B3I", 3, *pixels.shape) + pixels.tobytes()


def _file_of(value: Any, field: str) -> bytes:
    if not isinstance(value, ImageFile):
        raise invalid(field, f"The model takes an image (PNG, JPEG or WebP); this is {_name_of(value)}.")
    return value.data


def _encode_tensor(schema: Mapping[str, Any], value: Any, field: str) -> bytes:
    shape: Sequence[int] = schema["shape"]
    numbers: list[float] = []
    _flatten(value, shape, 0, field, numbers)
    low, high = _bounds(schema)
    # NaN compares false with everything, so the comparison is written to fail for it.
    if not (low <= min(numbers) and max(numbers) <= high) or any(number != number for number in numbers):
        place = next(index for index, number in enumerate(numbers) if not low <= number <= high)
        raise invalid(f"{field}{indices_of(place, shape)}", f"Each number must lie between {low:g} and {high:g}.")
    values = array("f", numbers)
    if sys.byteorder == "big":
        values.byteswap()
    return _TENSOR + struct.pack(f"<B{len(shape)}I", len(shape), *shape) + values.tobytes()


def _encode_array(schema: Mapping[str, Any], value: npt.NDArray[np.float32] | FlatTensor, field: str) -> bytes:
    """What arrives in binary: the same bytes and the same refusals as for lists, without a loop over the numbers."""
    shape: Sequence[int] = schema["shape"]
    size = math.prod(shape)
    tensor = value.values if isinstance(value, FlatTensor) else value
    if isinstance(value, FlatTensor):
        if tensor.size != size:
            raise invalid(field, f"The model takes {size:,} numbers (shape {list(shape)}), not {tensor.size:,}.")
    elif tensor.shape != tuple(shape):
        raise invalid(field, f"The model takes shape {list(shape)}, not {list(tensor.shape)}.")
    numbers = np.ascontiguousarray(tensor, dtype="<f4").reshape(-1)
    low, high = _bounds(schema)
    # With a NaN both are NaN, which compares false with everything.
    if not (low <= numbers.min() and numbers.max() <= high):
        place = int(np.argmin((numbers >= low) & (numbers <= high)))
        where = f"[{place}]" if isinstance(value, FlatTensor) else indices_of(place, shape)
        raise invalid(f"{field}{where}", f"Each number must lie between {low:g} and {high:g}.")
    return _TENSOR + struct.pack(f"<B{len(shape)}I", len(shape), *shape) + numbers.tobytes()


def _bounds(schema: Mapping[str, Any]) -> tuple[float, float]:
    low = max(float(schema.get("minimum", -_FLOAT32_MAX)), -_FLOAT32_MAX)
    return low, min(float(schema.get("maximum", _FLOAT32_MAX)), _FLOAT32_MAX)


def _flatten(value: Any, shape: Sequence[int], depth: int, path: str, numbers: list[float]) -> None:
    if not isinstance(value, list):
        found = (
            f"this is {_name_of(value)}"
            if isinstance(value, ImageFile | TextPair)
            else "at this place a list is missing"
        )
        raise invalid(path, f"The model takes numbers of shape {list(shape)}; {found}.")
    if len(value) != shape[depth]:
        raise invalid(path, f"The model takes shape {list(shape)}: {shape[depth]} values here, not {len(value)}.")
    if depth + 1 < len(shape):
        for index, item in enumerate(value):
            _flatten(item, shape, depth + 1, f"{path}[{index}]", numbers)
        return
    for index, item in enumerate(value):
        # Exact types: True is an int to isinstance, and a bool is no number here.
        if type(item) is not float and type(item) is not int:
            raise invalid(f"{path}[{index}]", f"The model takes numbers; this is {_name_of(item)}.")
    numbers.extend(value)


def indices_of(place: int, shape: Sequence[int]) -> str:
    """Where the number at ``place`` of the flattened tensor stands, such as ``[3][2]``."""
    indices: list[int] = []
    for size in reversed(shape):
        place, index = divmod(place, size)
        indices.append(index)
    return "".join(f"[{index}]" for index in reversed(indices))


def _name_of(value: Any) -> str:
    names = {
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        np.ndarray: "a tensor",
        FlatTensor: "a list of numbers",
        ImageFile: "an image",
        TextPair: "two texts",
        dict: "an object",
    }
    return names.get(type(value), "null")
