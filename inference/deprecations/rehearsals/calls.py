"""One sampled call of a deprecated version, made again on its successor: what it would be answered with, and what changes."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson

from inference import api_versions
from inference.deprecations.rehearsals import comparing, replaying
from inference.deprecations.rehearsals.replaying import Replayed
from inference.deprecations.rehearsals.report import CallOutcome
from inference.models.lifecycle import CallSample
from inference.types import PredictRequest
from mlplatform.lib.errors import PlatformError
from tenants.deprecations.rules import Schedule
from tenants.models import SubjectKind, Tenant

NOT_REWRITABLE = "not-rewritable"
"""The kind of failure of a call that the successor has no words for."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A body in an API version, and the model for it where the address named one."""

    api_version: str
    body: dict[str, Any]
    model: str

    def parse(self) -> PredictRequest:
        return api_versions.parse(self.api_version, self.body, model=self.model)


def rehearse(
    sample: CallSample, *, schedule: Schedule, tenant: Tenant, allowed_models: Collection[str] = ()
) -> CallOutcome:
    """Replay one whole sample. ``allowed_models`` are those of its key. Raises ``WorkersAwayError`` and what Redis raises."""
    old = _Call(sample.api_version, sample.body, "" if "model" in sample.body else sample.model)
    try:
        new = _on_successor(old, schedule)
    except ValueError as error:
        return CallOutcome(failure=(NOT_REWRITABLE, str(error), ""))
    try:
        after = replaying.replay(new.parse(), tenant=tenant, allowed_models=allowed_models)
    except PlatformError as error:
        return CallOutcome(failure=(error.kind.value, error.detail, error.field or ""))
    before = _before(old, tenant, allowed_models)
    answer = _as_json(api_versions.render(new.api_version, after.answer))
    try:
        compared = (
            api_versions.answer_down(answer, new=new.api_version, old=old.api_version)
            if new.api_version != old.api_version
            else answer
        )
    except ValueError:
        compared = None
    return CallOutcome(
        request_changes=tuple(comparing.field_changes(old.body, new.body)),
        answer_changes=tuple(comparing.field_changes(sample.answer, answer)),
        differences=() if compared is None else tuple(comparing.differences(sample.answer, compared)),
        unsayable=compared is None,
        old_latency_ms=before.latency_ms if before is not None else None,
        new_latency_ms=after.latency_ms,
        old_units=before.units if before is not None else None,
        new_units=after.units,
    )


def _on_successor(old: _Call, schedule: Schedule) -> _Call:
    """The same call, on the successor. Raises ValueError where the new API version cannot say it."""
    if schedule.kind == SubjectKind.API_VERSION:
        body = api_versions.request_up(old.body, old=old.api_version, new=schedule.successor)
        return _Call(schedule.successor, body, "" if "model" in body else old.model)
    if "model" in old.body:
        return _Call(old.api_version, old.body | {"model": schedule.successor}, "")
    return _Call(old.api_version, old.body, schedule.successor)


def _before(old: _Call, tenant: Tenant, allowed_models: Collection[str]) -> Replayed | None:
    """The old call, computed under the same conditions, for its latency and price; None where it is refused by now."""
    try:
        return replaying.replay(old.parse(), tenant=tenant, allowed_models=allowed_models)
    except PlatformError:
        return None


def _as_json(body: dict[str, Any]) -> dict[str, Any]:
    """As the customer reads it: vectors become lists."""
    read: dict[str, Any] = orjson.loads(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))
    return read
