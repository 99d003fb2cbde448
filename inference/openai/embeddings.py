"""The bodies of ``POST …/embeddings``, in and out, as OpenAI's API has them."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from django.conf import settings
from msgspec import Meta

from inference.api_versions.messages import Model
from inference.calls import all_or_nothing
from inference.calls.all_or_nothing import WholeAnswer
from inference.openai import models
from inference.types import REFUSE, TO_LIMIT, CallContext, ModelRef, PredictRequest
from mlplatform.lib.errors import invalid
from tenants.authentication import Caller
from tenants.http.messages import Message, read

_MOST_TOKENS: Final = 1_000_000


class EmbeddingsRequest(Message, frozen=True, kw_only=True):
    """A call as it comes. Of a text with more than ``truncate_prompt_tokens``, which vLLM's server has too, only so many are
    read, the first ones; -1 for as many as the model can. Without it such a text is refused."""

    model: Model | None = None
    input: Any
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: Annotated[str, Meta(max_length=512)] = ""
    truncate_prompt_tokens: Annotated[int, Meta(ge=TO_LIMIT, le=_MOST_TOKENS)] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A parsed call. ``single`` is whether the input was one text, which errors then call ``input`` alone; ``truncate`` whether
    texts may be cut, as ``inference.inputs.truncation`` says it."""

    model: str
    texts: tuple[str, ...]
    single: bool
    base64: bool
    dimensions: int | None
    truncate: int = REFUSE


def parse(body: Mapping[str, Any]) -> Asked:
    """Raises INVALID_INPUT that names the field, also for a field that the API does not have."""
    said = read(body, EmbeddingsRequest)
    if not said.model:
        raise invalid("model", "Name a model; GET /openai/v1/models lists them.")
    return Asked(
        model=said.model,
        texts=_texts(said.input),
        single=isinstance(said.input, str),
        base64=said.encoding_format == "base64",
        dimensions=said.dimensions,
        truncate=_truncate(said.truncate_prompt_tokens),
    )


def embed(caller: Caller, asked: Asked, *, context: CallContext) -> WholeAnswer:
    """One vector for each text, or the first problem. The operation of ``context`` is that of :func:`whole.operation`."""
    ref = all_or_nothing.resolve(caller, asked.model, request_id=context.request_id)
    _require_embedding(caller, ref)
    if asked.dimensions is not None and asked.dimensions != ref.outputs:
        raise invalid(
            "dimensions", f"{ref.name} answers with {ref.outputs} dimensions and cannot be cut to {asked.dimensions}."
        )
    if ref.max_tokens is not None and asked.truncate > ref.max_tokens:
        raise invalid(
            "truncate_prompt_tokens", f"{ref.name} reads {ref.max_tokens:,} tokens at most; ask for so many or -1."
        )
    requests = [
        PredictRequest(
            model=asked.model,
            input=text,
            field="input" if asked.single else f"input[{index}]",
            truncate=asked.truncate,
            resolved=ref,
        )
        for index, text in enumerate(asked.texts)
    ]
    return all_or_nothing.predict_whole(caller, requests, context)


def render(asked: Asked, answer: WholeAnswer) -> dict[str, Any]:
    """``usage`` counts units, which is what is charged: nothing here knows the tokens of a text."""
    first = answer.results[0]
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _written(result.embedding, asked)}
            for index, result in enumerate(answer.results)
        ],
        "model": f"{first.model}@{first.model_version}",
        "usage": {"prompt_tokens": answer.units, "total_tokens": answer.units},
    }


def _texts(given: Any) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, list) or not given:
        raise invalid("input", "The input is text, or a list of at least one text.")
    if len(given) > settings.OPENAI_MAX_INPUTS:
        raise invalid("input", f"A call takes at most {settings.OPENAI_MAX_INPUTS:,} texts, not {len(given):,}.")
    for index, item in enumerate(given):
        if type(item) is int or isinstance(item, list):
            raise invalid(
                "input" if type(item) is int else f"input[{index}]",
                "Token numbers cannot be embedded: each model here has its own tokenizer. Send the text itself.",
            )
        if not isinstance(item, str):
            raise invalid(f"input[{index}]", "Each input is text.")
    return tuple(given)


def _truncate(tokens: int | None) -> int:
    if tokens == 0:
        raise invalid(
            "truncate_prompt_tokens", "It is the number of tokens to read at most, or -1 for as many as the model can."
        )
    return REFUSE if tokens is None else tokens


def _require_embedding(caller: Caller, ref: ModelRef) -> None:
    if models.embeds_text(ref):
        return
    usable = ", ".join(models.names(caller)) or "none that this key may use"
    raise invalid("model", f"{ref.name} does not turn text into a vector. Models that do: {usable}.")


def _written(vector: npt.NDArray[np.float32] | None, asked: Asked) -> Any:
    values = np.asarray(vector, dtype="<f4")
    return base64.b64encode(values.tobytes()).decode() if asked.base64 else values
