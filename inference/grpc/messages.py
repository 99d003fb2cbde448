"""From the messages of ``ml_inference`` to the types of a prediction, and back."""

import re
from collections.abc import Mapping
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError

from inference.grpc import statuses
from inference.grpc.generated import ml_inference_pb2 as pb
from inference.inputs import truncation
from inference.types import MAX_MODEL_CHARS, MAX_TOP_K, FlatTensor, ImageFile, PredictRequest, PredictResult, TextPair
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants.deprecations.rules import Deprecation

_MAX_NOTES: Final = 32
_MAX_NOTE_NAME: Final = 64
_MAX_NOTE: Final = 256
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,127}")
_BYTES_PER_NUMBER: Final = 4


class Malformed:
    """Bytes that are no message of their method: the call, or the item of a stream, is told so."""

    def problem(self) -> PlatformError:
        return PlatformError(ErrorKind.MALFORMED, "The bytes are no protobuf message of this method.")


def read(data: bytes) -> "pb.PredictRequest | Malformed":
    """The message that these bytes are."""
    try:
        return pb.PredictRequest.FromString(data)
    except DecodeError:
        return Malformed()


def parse(
    request: "pb.PredictRequest | Malformed", *, model: str = "", path: str = "", call_id: str = ""
) -> PredictRequest:
    """One input. ``model`` is for a request that names none, ``path`` stands before the names of fields in problems.

    Raises MALFORMED or INVALID_INPUT; what the model demands of the input is checked later, where every face has it checked.
    """
    if isinstance(request, Malformed):
        raise request.problem()
    name = request.model_name or model
    if len(name) > MAX_MODEL_CHARS:
        raise invalid(f"{path}model_name", "The model is text such as sentiment or sentiment@1.2.0.")
    top_k: int | None = None
    if request.HasField("top_k"):
        top_k = request.top_k
        if not 1 <= top_k <= MAX_TOP_K:
            raise invalid(f"{path}top_k", f"top_k is a whole number from 1 to {MAX_TOP_K}.")
    if request.metadata:
        wrong = _wrong_with_notes(request.metadata)
        if wrong:
            raise invalid(f"{path}metadata", wrong)
    if request.id and not _ID.fullmatch(request.id):
        raise invalid(f"{path}id", "The id has 1 to 128 of A-Z a-z 0-9 . _ : - and begins with a letter or digit.")
    value, field = _input(request, path)
    return PredictRequest(
        name,
        value,
        top_k,
        path=path,
        field=field,
        call_id=request.id or call_id,
        truncate=truncation.flag(request.truncate),
    )


def _input(request: pb.PredictRequest, path: str) -> tuple[str | FlatTensor | ImageFile | TextPair, str]:
    """The one input of the request, and the name of its field."""
    has_text, has_raw, has_numbers = request.HasField("text"), request.HasField("features_raw"), bool(request.features)
    has_image = request.HasField("image")
    if has_text + has_raw + has_numbers + has_image > 1:
        raise invalid(f"{path}features", "Send one input: either text, features, features_raw or image.")
    if request.HasField("text_pair"):
        if not has_text:
            raise invalid(f"{path}text", "The first text is missing: text_pair is the second.")
        return TextPair(request.text, request.text_pair), "text_pair"
    if has_image:
        return ImageFile(request.image), "image"
    if has_text:
        return request.text, "text"
    if has_raw:
        raw = request.features_raw
        if len(raw) % _BYTES_PER_NUMBER:
            raise invalid(f"{path}features_raw", f"float32 values have 4 bytes each; {len(raw):,} bytes are none.")
        return FlatTensor(np.frombuffer(raw, dtype="<f4")), "features_raw"
    if has_numbers:
        return FlatTensor(np.array(request.features, dtype=np.float32)), "features"
    raise invalid(f"{path}features", "The input is missing: send text, features, features_raw or image.")


def weight(request: "pb.PredictRequest | Malformed | bytes") -> int:
    """About how many bytes the input takes, without writing it down."""
    if isinstance(request, bytes):
        return len(request)
    if isinstance(request, Malformed):
        return 0
    texts = len(request.text) + len(request.text_pair)
    return texts + len(request.features_raw) + len(request.image) + _BYTES_PER_NUMBER * len(request.features)


def _wrong_with_notes(notes: Mapping[str, str]) -> str:
    """A sentence, empty where nothing is wrong."""
    if len(notes) > _MAX_NOTES:
        return f"At most {_MAX_NOTES} notes go with an input, not {len(notes)}."
    if any(len(name) > _MAX_NOTE_NAME or len(value) > _MAX_NOTE for name, value in notes.items()):
        return f"A note has at most {_MAX_NOTE_NAME} characters in its name and {_MAX_NOTE} in its value."
    return ""


def response(result: PredictResult, request: "pb.PredictRequest | Malformed", *, request_id: str) -> pb.PredictResponse:
    """The answer of one input."""
    message = pb.PredictResponse(
        model_version=result.model_version,
        latency_ms=result.latency_ms,
        units=result.units,
        cached=result.cached,
        age_s=result.age_s,
        request_id=request_id,
        model_name=result.model,
        id=result.id,
    )
    if result.embedding is not None:
        message.embedding.extend(result.embedding.tolist())
    else:
        add = message.predictions.add
        for item in result.predictions or ():
            add(label=item.label, score=item.score)
    if isinstance(request, pb.PredictRequest) and request.metadata:
        message.metadata.update(request.metadata)
    if result.deprecation is not None:
        message.deprecation.CopyFrom(_deprecation(result.deprecation))
    if result.truncated is not None:
        message.truncated.tokens, message.truncated.max_tokens = result.truncated
    return message


def problem(
    error: PlatformError, request: "pb.PredictRequest | Malformed | None", *, request_id: str
) -> pb.PredictResponse:
    """The answer of one input of a batch or stream that has no result."""
    message = pb.PredictResponse(request_id=request_id, status=statuses.item_status(error))
    if isinstance(request, pb.PredictRequest) and request.metadata and not _wrong_with_notes(request.metadata):
        message.metadata.update(request.metadata)
    return message


def _deprecation(deprecation: Deprecation) -> pb.Deprecation:
    return pb.Deprecation(
        subject=deprecation.subject,
        deprecated_at_s=int(deprecation.deprecated_at.timestamp()),
        sunset_at_s=int(deprecation.sunset_at.timestamp()),
        successor=deprecation.successor,
        guide=deprecation.guide,
    )
