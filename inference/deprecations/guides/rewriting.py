"""A tenant's own latest call of a deprecated version, rewritten for the successor, as commands that work when pasted.

Of a call that was kept whole, the customer sees its own input and answer. Otherwise the input is an example that the
model takes, and the answer an example of its form.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import orjson
from django.conf import settings

from billing.metering import version_use
from inference import api_versions
from inference.deprecations.guides import written_calls
from inference.deprecations.samples import store as samples
from inference.engine.predict import Answer
from inference.inputs import canonical, json_inputs
from inference.models import CallSample
from inference.registry import versions
from inference.types import LabelScore, ModelRef, PredictResult
from mlplatform.lib.errors import PlatformError
from tenants.models import SubjectKind, Tenant

KEY: Final = "$MLPLATFORM_API_KEY"
"""Stands for the key in every command; a shell that has the variable puts the real one in."""

_EXAMPLE_TEXT: Final = "What a wonderful morning!"
_EXAMPLE_IMAGE: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4DwABAQEAHLCMmQAAAABJRU5ErkJggg=="
"""A PNG of one white pixel."""
_EXAMPLE_ID: Final = "5f0c2a9e41d74b6c8a3e9d10b7c2f418"
_EXAMPLE_SCORE_DIGITS: Final = 2


class ScheduleLike(Protocol):
    """What must be known of a schedule: its row and the frozen one of the rules both have it."""

    @property
    def kind(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def successor(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The call as it is (``old_curl``), as it will be (``new_curl``), and what the latter answers (JSON text).

    ``own`` says that input and answer are the tenant's; otherwise they are examples. ``called_at`` and ``key_uid`` tell of
    which call, where there was one.
    """

    old_version: str
    new_version: str
    old_curl: str
    new_curl: str
    expected: str
    own: bool
    called_at: dt.datetime | None = None
    key_uid: str = ""


def rewritten(*, tenant_id: int, schedule: ScheduleLike, whole: bool = True) -> Rewritten | None:
    """The tenant's latest sampled call, or one like those in its usage; None for a tenant of which nothing is known.

    Without ``whole`` nothing of the customer's data is shown, though it was kept. None, too, where the successor cannot
    say the call.
    """
    sample = samples.latest(tenant_id=tenant_id, kind=schedule.kind, subject=schedule.subject)
    if sample is not None and sample.whole and whole:
        own = _of_own_call(sample, schedule)
        if own is not None:
            return own
    if sample is not None:
        named = sample.model or _default_model(tenant_id)
        return _of_example(tenant_id, schedule, named, sample.api_version, sample)
    used = _used(tenant_id, schedule)
    return _of_example(tenant_id, schedule, used[0], used[1], None) if used is not None else None


def _curl(api_version: str, body: Mapping[str, Any]) -> str:
    return written_calls.curl(api_version=api_version, body=body, base_url=settings.BASE_URL, key=KEY)


def _of_own_call(sample: CallSample, schedule: ScheduleLike) -> Rewritten | None:
    """None where the successor does not take this input; an example is more use than a command that fails."""
    try:
        body, version = _up(sample.body, schedule, sample.api_version)
    except ValueError:
        return None
    if schedule.kind == SubjectKind.MODEL_VERSION:
        ref = _ref(schedule.successor, sample.tenant_id)
        try:
            given = json_inputs.read(sample.body["input"], field="input")
            canonical.encode(ref.input_schema if ref else {}, given, field="input")
        except (PlatformError, KeyError):
            return None
        expected: Any = _answered_by(sample.answer, schedule.successor)
    else:
        expected = sample.expected
    if expected is None:
        return None
    return Rewritten(
        old_version=sample.api_version,
        new_version=version,
        old_curl=_curl(sample.api_version, sample.body),
        new_curl=_curl(version, body),
        expected=_pretty(expected),
        own=True,
        called_at=sample.called_at,
        key_uid=sample.key_uid,
    )


def _of_example(
    tenant_id: int, schedule: ScheduleLike, model: str, api_version: str, sample: CallSample | None
) -> Rewritten | None:
    """The same with an input that the model takes; None for a model or an API version that does not answer any more."""
    successor = schedule.successor if schedule.kind == SubjectKind.MODEL_VERSION else model
    old_ref, new_ref = _ref(model, tenant_id) or _ref(successor, tenant_id), _ref(successor, tenant_id)
    if old_ref is None or new_ref is None or api_version not in api_versions.VERSIONS:
        return None
    old = {"model": model, "input": example_input(old_ref.input_schema)}
    try:
        new, version = _up(old, schedule, api_version)
        if schedule.kind == SubjectKind.MODEL_VERSION:
            new["input"] = example_input(new_ref.input_schema)
        expected = api_versions.render(version, _example_answer(new_ref))
    except ValueError:
        return None
    return Rewritten(
        old_version=api_version,
        new_version=version,
        old_curl=_curl(api_version, old),
        new_curl=_curl(version, new),
        expected=_pretty(expected),
        own=False,
        called_at=sample.called_at if sample else None,
        key_uid=sample.key_uid if sample else "",
    )


def _up(body: Mapping[str, Any], schedule: ScheduleLike, api_version: str) -> tuple[dict[str, Any], str]:
    """The body for the successor, and the API version in which it goes. Raises ValueError where that cannot be said."""
    if schedule.kind == SubjectKind.MODEL_VERSION:
        return {**body, "model": schedule.successor}, api_version
    return api_versions.request_up(body, old=api_version, new=schedule.successor), schedule.successor


def _answered_by(answer: Mapping[str, Any], successor: str) -> dict[str, Any]:
    """The old answer with the new model version's name: its form is the same, its scores may differ."""
    return {**answer, **({"model_version": successor.partition("@")[2]} if "model_version" in answer else {})}


def example_input(schema: Mapping[str, Any]) -> Any:
    """An input that a model with this schema takes: a sentence or two, a white picture, or zeros of its shape (the nearest
    number it allows)."""
    if schema["kind"] == "image":
        return {"image": _EXAMPLE_IMAGE}
    if schema["kind"] in {"text", "pair"}:
        text = _EXAMPLE_TEXT[: int(schema.get("max_chars", len(_EXAMPLE_TEXT)))]
        return text if schema["kind"] == "text" else {"text": text, "pair": text}
    low, high = float(schema.get("minimum", 0)), float(schema.get("maximum", 0))
    number = min(max(0.0, low), max(high, low)) if "maximum" in schema else max(0.0, low)
    value: Any = int(number) if number.is_integer() else number
    for size in reversed(schema["shape"]):
        value = [value] * size
    return value


def _example_answer(ref: ModelRef) -> Answer:
    share = round(1 / max(len(ref.labels), 1), _EXAMPLE_SCORE_DIGITS)
    result = PredictResult(
        id=_EXAMPLE_ID,
        model=ref.name,
        model_version=ref.version,
        predictions=None if ref.is_embedding else tuple(LabelScore(label, share) for label in ref.labels),
        embedding=np.zeros(ref.outputs, dtype=np.float32) if ref.is_embedding else None,
        units=1,
        cached=False,
        age_s=0,
        latency_ms=8.4,
        vector_name=ref.vector_name,
    )
    return Answer((result,), 1, None)


def _used(tenant_id: int, schedule: ScheduleLike) -> tuple[str, str] | None:
    """Model and API version of the tenant's latest calls, as its usage has them."""
    rows = version_use.of_subject(schedule.kind, schedule.subject).filter(tenant_id=tenant_id)
    row = rows.exclude(model="").exclude(api_version="").order_by("-last_call_at").first()
    if row is None:
        return None
    model = schedule.subject if schedule.kind == SubjectKind.MODEL_VERSION else row.model
    return model, row.api_version


def _default_model(tenant_id: int) -> str:
    return Tenant.objects.filter(pk=tenant_id).values_list("default_model", flat=True).first() or ""


def _ref(name: str, tenant_id: int) -> ModelRef | None:
    try:
        return versions.resolve(name, tenant_id=tenant_id)
    except PlatformError:
        return None


def _pretty(answer: Mapping[str, Any]) -> str:
    return written_calls.pretty(orjson.loads(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)))
