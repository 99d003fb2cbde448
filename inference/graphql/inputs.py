"""From a field's arguments to what a prediction takes."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final

import graphene
import numpy as np
from msgspec import Meta

from inference.api_versions.messages import Model, TopK, Truncate
from inference.inputs.json_inputs import PairInput, image_bytes
from inference.types import FlatTensor, ImageFile, TextPair
from mlplatform.lib.errors import invalid
from tenants.graphql import messages
from tenants.http.messages import Message

_MAX_RANK: Final = 8


class PredictArguments(Message, frozen=True, rename="camel"):
    """What ``predict`` takes beside its input."""

    model: Model | None = None
    top_k: TopK | None = None
    truncate: Truncate | None = None


class BatchArguments(Message, frozen=True, rename="camel"):
    """What ``batchPredict`` takes."""

    inputs: Annotated[tuple[str, ...], Meta(min_length=1)]
    models: Annotated[tuple[Model, ...], Meta(min_length=1)]
    truncate: Truncate | None = None


class TensorInput(graphene.InputObjectType):
    """Numbers with their shape."""

    shape = graphene.List(graphene.NonNull(graphene.Int), required=True, description="Such as [8, 8].")
    values = graphene.List(graphene.NonNull(graphene.Float), required=True, description="In row-major order.")


class PredictionInput(graphene.InputObjectType):
    """What a model reads: exactly one of the fields."""

    text = graphene.String()
    tensor = TensorInput()
    values = graphene.List(
        graphene.NonNull(graphene.Float), description="The numbers of a tensor whose shape the model knows, row-major."
    )
    image = graphene.String(description="The bytes of a PNG, JPEG or WebP file as base64.")
    pair = messages.input_object(PairInput)()


def read(input_data: str | None, structured: Mapping[str, Any] | None) -> tuple[Any, str]:
    """The input and the name of the argument that has it. Raises INVALID_INPUT unless there is exactly one."""
    if (input_data is None) == (structured is None):
        raise invalid("inputData", "Give either inputData or input.")
    if structured is None:
        return input_data, "inputData"
    given = [name for name in ("text", "tensor", "values", "image", "pair") if structured.get(name) is not None]
    if len(given) != 1:
        raise invalid("input", "Give exactly one of text, tensor, values, image and pair.")
    match given[0]:
        case "text":
            return structured["text"], "input.text"
        case "tensor":
            return _tensor(structured["tensor"]), "input.tensor"
        case "image":
            return ImageFile(image_bytes(structured["image"], field="input.image")), "input.image"
        case "pair":
            said = messages.read(structured["pair"], PairInput, path="input.pair.")
            return TextPair(said.text, said.pair), "input.pair"
        case _:
            return FlatTensor(_float32(structured["values"])), "input.values"


def _tensor(tensor: Mapping[str, Any]) -> Any:
    shape, values = tensor["shape"], tensor["values"]
    if not 1 <= len(shape) <= _MAX_RANK or min(shape) < 1:
        raise invalid("input.tensor.shape", f"A shape has from 1 to {_MAX_RANK} dimensions of at least 1.")
    if math.prod(shape) != len(values):
        raise invalid(
            "input.tensor.values", f"The shape {shape} has {math.prod(shape):,} numbers, not {len(values):,}."
        )
    return _float32(values).reshape(shape)


def _float32(values: list[float]) -> Any:
    # What is too large for float32 becomes infinite here, and is refused with the model's own bounds.
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float32)
