"""One entry of a usage stream, read strictly: it comes from our own scripts, but an older release may have written it."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from billing.models import UsageRecord
from billing.models.meters import MAX_METER_CHARS

_MAX_BIGINT: Final = 2**63 - 1
_LONGEST_ID: Final = 64
VOID_SUFFIX: Final = "-void"
"""What the id of a record that takes another back has after the other's."""
_Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class _Body(msgspec.Struct):
    """What ``billing.charging.record`` writes. The lengths are those of the ledger's columns."""

    tenant_id: Annotated[int, Meta(ge=1, le=_MAX_BIGINT)]
    key_id: Annotated[str, Meta(max_length=24)]
    request_id: Annotated[str, Meta(max_length=128)]
    operation: Annotated[str, Meta(max_length=16)]
    model: Annotated[str, Meta(max_length=MAX_METER_CHARS)]
    model_version: Annotated[str, Meta(max_length=64)]
    api_version: Annotated[str, Meta(max_length=16)]
    inputs: _Count
    cached: bool
    client: Annotated[str, Meta(max_length=120)]
    requests: Annotated[int, Meta(ge=0, le=1)] = 1
    model_requests: Annotated[int, Meta(ge=0, le=1)] | None = None
    version_requests: Annotated[int, Meta(ge=0, le=1)] | None = None
    held_units: Annotated[int, Meta(ge=0, le=_MAX_BIGINT)] = 0


@dataclass(frozen=True, slots=True)
class Void:
    """That a hold's record takes nothing: its call was told that nothing was charged. ``at`` is when that was noted."""

    hold_id: str
    at: dt.datetime


_decoder: Final = msgspec.msgpack.Decoder(_Body)


def parse(fields: Mapping[bytes, bytes]) -> UsageRecord | Void:
    """The usage record or the void that the entry is. Raises ValueError, which names the reason, for an entry that is none."""
    return _void(fields) if b"void" in fields else _record(fields)


def _void(fields: Mapping[bytes, bytes]) -> Void:
    try:
        hold_id = fields[b"void"].decode()
        at = dt.datetime.fromtimestamp(int(fields[b"at"]) / 1_000_000, dt.UTC)
    except KeyError as error:
        raise ValueError(f"the field {error} is missing") from error
    except (OverflowError, OSError) as error:
        raise ValueError(str(error)) from error
    if not 0 < len(hold_id) <= _LONGEST_ID - len(VOID_SUFFIX):
        raise ValueError("the id is out of range")
    return Void(hold_id, at)


def _record(fields: Mapping[bytes, bytes]) -> UsageRecord:
    try:
        body = _decoder.decode(fields[b"record"])
        record_id = fields[b"id"].decode()
        at = dt.datetime.fromtimestamp(int(fields[b"at"]) / 1_000_000, dt.UTC)
        units = int(fields[b"units"])
    except KeyError as error:
        raise ValueError(f"the field {error} is missing") from error
    except (msgspec.MsgspecError, OverflowError, OSError) as error:
        raise ValueError(str(error)) from error
    if not 0 <= units <= _MAX_BIGINT or not 0 < len(record_id) <= _LONGEST_ID:
        raise ValueError("units or id are out of range")
    texts = (record_id, body.key_id, body.request_id, body.operation, body.model, body.model_version, body.api_version)
    if any("\x00" in text for text in (*texts, body.client)):
        raise ValueError("a text has a NUL character, which PostgreSQL cannot store")
    return UsageRecord(
        id=record_id,
        tenant_id=body.tenant_id,
        key_uid=body.key_id,
        occurred_at=at,
        request_id=body.request_id,
        operation=body.operation,
        model=body.model,
        model_version=body.model_version,
        api_version=body.api_version,
        inputs=body.inputs,
        # Settled for less than was held: an equal input was being computed, and this one was answered with it.
        cached=body.cached or (body.inputs > 0 and units < body.held_units),
        units=units,
        saved_units=max(0, body.held_units - units) if body.inputs else 0,
        requests=body.requests,
        # An older release counted a call once for each of its models, and did not tell versions apart.
        model_requests=body.requests if body.model_requests is None else body.model_requests,
        version_requests=body.requests if body.version_requests is None else body.version_requests,
        client=body.client,
    )
