"""What the tests of billing share: entries of the usage streams, as the admission scripts write them."""

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from redis.typing import EncodableT, FieldT

from billing.admission.keys import usage_stream
from mlplatform.lib import redis
from tests.conftest import Customer

NOON = 1_772_366_400_000_000
"""1 March 2026, noon, in microseconds."""

_numbers = itertools.count(1)


@pytest.fixture
def meter() -> Callable[..., str]:
    """Append the usage record of one settled charge to its customer's stream; gives the record's id."""

    def append(customer: Customer, *, units: int = 1, at: int = NOON, id: str = "", **fields: Any) -> str:  # noqa: A002
        record_id = id or f"hold{next(_numbers):08d}"
        body = {
            "tenant_id": customer.tenant.pk,
            "key_id": customer.key.uid,
            "request_id": f"req-{record_id}",
            "operation": "predict",
            "model": "sentiment",
            "model_version": "1.0.0",
            "api_version": "v2",
            "inputs": 1,
            "cached": False,
            "requests": 1,
            "held_units": units,
            "client": "curl/8",
        }
        raw = fields.pop("raw", None)
        entry: dict[FieldT, EncodableT] = {
            "id": record_id,
            "at": at,
            "units": units,
            "record": raw or msgspec.msgpack.encode(body | fields),
        }
        redis.state().xadd(usage_stream(customer.tenant.shard), entry)
        return record_id

    return append
