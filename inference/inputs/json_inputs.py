"""Inputs that JSON says with an object: an image as base64, and two texts that a model reads together."""

import base64
import binascii
from typing import Any

from inference.types import ImageFile, TextPair
from mlplatform.lib import strict_json
from mlplatform.lib.errors import invalid


def read(value: Any, *, field: str) -> Any:
    """``{"image": "<base64>"}`` and ``{"text", "pair"}`` as the types of a prediction; anything else as it is.

    Raises INVALID_INPUT for an object with other fields, and for an image that is not base64.
    """
    if not isinstance(value, dict):
        return value
    value = strict_json.present(value)
    if value.keys() == {"image"}:
        return ImageFile(image_bytes(value["image"], field=f"{field}.image"))
    if value.keys() == {"text", "pair"}:
        return TextPair(value["text"], value["pair"])
    raise invalid(field, 'An input that is an object is {"image": "<base64>"} or {"text": "…", "pair": "…"}.')


def image_bytes(value: Any, *, field: str) -> bytes:
    """The file that base64 text says, or bytes as they are. Raises INVALID_INPUT."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise invalid(field, "An image is the bytes of its file as base64 text.")
    if value.startswith("data:"):
        # What a browser's FileReader gives; the type in it says nothing that the bytes do not.
        value = value.partition(",")[2]
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(field, f"The image is not base64: {error}.") from error
