"""Elements of tensors of the type BYTES."""

import struct
from typing import Any, Final

from mlplatform.lib.errors import invalid

_LENGTH: Final = struct.Struct("<I")


def elements_of(raw: bytes | memoryview, count: int) -> list[bytes]:
    """Elements of BYTES, each after its length in 4 bytes."""
    elements, position, size = [], 0, len(raw)
    for index in range(count):
        start = position + _LENGTH.size
        if start > size:
            raise invalid(
                f"inputs[0].data[{index}]", f"The binary data ends before element {index} of {count}; see its shape."
            )
        (length,) = _LENGTH.unpack_from(raw, position)
        position = start + length
        if position > size:
            raise invalid(
                f"inputs[0].data[{index}]", f"The element says that it has {length:,} bytes; {size - start:,} are left."
            )
        elements.append(bytes(raw[start:position]))
    if position != size:
        raise invalid(
            "inputs[0].data", f"The binary data has {size - position:,} bytes more than its {count} elements."
        )
    return elements


def text_of(element: Any, field: str) -> str:
    """The element as text. Raises INVALID_INPUT."""
    if isinstance(element, str):
        return element
    if not isinstance(element, bytes):
        raise invalid(field, "An element of type BYTES is text.")
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise invalid(field, f"The text is not UTF-8: byte {error.start} cannot be read.") from error
