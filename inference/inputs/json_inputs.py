"""Inputs that JSON says with an object: an image as base64, and two texts that a model reads together."""

import base64
import binascii
from typing import Annotated, Any

from msgspec import Meta

from inference.types import ImageFile, TextPair
from mlplatform.lib import strict_json
from mlplatform.lib.errors import invalid
from tenants.http import messages
from tenants.http.messages import Message


class ImageInput(Message, frozen=True):
    """An image as it lies in a file."""

    image: Annotated[
        Any,
        Meta(
            description="The bytes of a PNG, JPEG or WebP file.",
            extra_json_schema={"type": "string", "contentEncoding": "base64", "minLength": 1},
        ),
    ]


class PairInput(Message, frozen=True):
    """Two texts that a model reads together."""

    text: Annotated[str, Meta(min_length=1, description="The query, or the premise.")]
    pair: Annotated[str, Meta(min_length=1, description="What is compared with it: the passage, or the hypothesis.")]


def read(value: Any, *, field: str) -> Any:
    """``{"image": "<base64>"}`` and ``{"text", "pair"}`` as the types of a prediction; anything else as it is.

    Raises INVALID_INPUT for an object with other fields, and for an image that is not base64.
    """
    if not isinstance(value, dict):
        return value
    value = strict_json.present(value)
    if value.keys() == set(ImageInput.__struct_fields__):
        return ImageFile(image_bytes(messages.read(value, ImageInput).image, field=f"{field}.image"))
    if value.keys() == set(PairInput.__struct_fields__):
        said = messages.read(value, PairInput, path=f"{field}.")
        return TextPair(said.text, said.pair)
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
