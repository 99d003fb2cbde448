"""What is left in a customer's stream, and what the ledger has made of it."""

import datetime as dt
from collections.abc import Callable
from typing import Any, cast

from prometheus_client import REGISTRY

from billing.admission.keys import usage_stream
from billing.metering import ledger as metering_ledger
from billing.models import UsageRollup
from mlplatform.lib import redis
from tests.conftest import Customer

Meter = Callable[..., str]
DAY = dt.date(2026, 3, 1)
HOUR = 3_600_000_000


def sums() -> list[tuple[Any, ...]]:
    """Every roll-up, without its row's number."""
    fields = (
        "day", "tenant", "key_uid", "model", "api_version", "operation", "calls", "model_calls",
        "inputs", "cached_inputs", "units",
    )  # fmt: skip
    return sorted(UsageRollup.objects.values_list(*fields))


def entries_of(stream: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """What is in a stream. These clients never decode, which the types of the library cannot tell."""
    return cast(list[tuple[bytes, dict[bytes, bytes]]], redis.state().xrange(stream))


def left(customer: Customer) -> tuple[int, int]:
    """Entries in the customer's stream, and those that were read and not acknowledged."""
    stream = usage_stream(customer.tenant.shard)
    return redis.state().xlen(stream), redis.state().xpending(stream, metering_ledger.GROUP)["pending"]


def sample(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0
