"""A year of usage: records, and the daily sums that the drain would have made of them. Sums and records agree."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

from bench.pages import bulk
from bench.pages.size import Size
from bench.pages.world import Served, World

_CLIENTS: Final = ("curl/8.9.1", "python-requests/2.32.3", "acme-shop/4.2", "node-fetch/3.3", "Go-http-client/1.1")
_API_VERSIONS: Final = ("v2", "v1", "v2", "v1.1", "v2")
_RECORD: Final = (
    "id", "tenant_id", "key_uid", "occurred_at", "request_id", "operation", "model", "model_version", "api_version",
    "inputs", "cached", "units", "saved_units", "requests", "model_requests", "version_requests", "client",
)  # fmt: skip
_ROLLUP: Final = (
    "day", "tenant_id", "key_uid", "model", "api_version", "operation", "calls", "model_calls", "inputs", "cached_inputs",
    "units", "saved_units",
)  # fmt: skip
_USE: Final = (
    "day", "tenant_id", "key_uid", "api_version", "model", "model_version", "client", "calls", "version_calls", "units",
    "last_call_at",
)  # fmt: skip

_Row = tuple[Any, ...]


def make(size: Size, world: World, *, now: dt.datetime) -> dict[str, int]:
    """Fill the three tables, oldest day first; how many rows each got."""
    from billing.models import UsageRecord, UsageRollup, VersionUse

    counts = {"usage records": 0, "daily sums": 0, "version uses": 0}
    per_day = sum(size.lines(rank) for rank in range(size.tenants))
    of_a_line = size.records / (per_day * size.days)
    with bulk.without_indexes(UsageRecord, UsageRollup, VersionUse):
        line = 0
        for back in range(size.days - 1, -1, -1):
            records: list[_Row] = []
            rollups: list[_Row] = []
            uses: list[_Row] = []
            for rank, subject in _subjects(size, world):
                # The remainder is carried from line to line, so that the year has as many records as were asked for.
                many = int((line + 1) * of_a_line) - int(line * of_a_line)
                own = list(_records(subject, rank, day=now - dt.timedelta(days=back), now=now, line=line, many=many))
                line += 1
                if own:
                    records += own
                    rollups.append(_rollup(own))
                    uses.append(_use(own))
            counts["usage records"] += bulk.insert(UsageRecord, _RECORD, records)
            counts["daily sums"] += bulk.insert(UsageRollup, _ROLLUP, rollups)
            counts["version uses"] += bulk.insert(VersionUse, _USE, uses)
    return counts


_Subject = tuple[int, str, Served, int]


def _subjects(size: Size, world: World) -> Iterator[tuple[int, _Subject]]:
    """What each tenant calls every day: its key, a model that it may see, and a number from which the rest follows."""
    on_sale = [model for model in world.models if model.owner is None]
    own = {model.owner: model for model in world.models if model.owner is not None}
    for rank, tenant_id in enumerate(world.tenants):
        keys = world.keys[rank]
        for n in range(size.lines(rank)):
            # Each pair of key and model once: the numbers of models and keys are stepped through together.
            model = own[rank] if n == 0 and rank in own else on_sale[(rank + n // len(keys)) % len(on_sale)]
            yield rank, (tenant_id, keys[n % len(keys)], model, n)


def _records(
    subject: _Subject, rank: int, *, day: dt.datetime, now: dt.datetime, line: int, many: int
) -> Iterator[_Row]:
    tenant_id, key, model, n = subject
    midnight = day.replace(hour=0, minute=0, second=0, microsecond=0)
    length = min(86_400, int((now - midnight).total_seconds()))
    version = model.versions[(rank + n) % len(model.versions)]
    api_version = _API_VERSIONS[(rank + n) % len(_API_VERSIONS)]
    client = _CLIENTS[(rank * 7 + n) % len(_CLIENTS)]
    for index in range(many):
        # A multiplicative step spreads the calls over the day without a random source: every run makes the same data.
        mixed = (line * 2_654_435_761 + index * 40_503_919) % 2**32
        cached = mixed % 5 == 0
        units = 1 if cached else 10
        yield (
            f"{line:016x}{index:016x}", tenant_id, key, bulk.moment(midnight + dt.timedelta(seconds=mixed % max(1, length))),
            f"req-{line:x}-{index:x}", "predict", model.name, version, api_version,
            1, cached, units, 9 if cached else 0, 1, 1, 1, client,
        )  # fmt: skip


def _rollup(records: list[_Row]) -> _Row:
    first = records[0]
    many = len(records)
    return (
        first[3][:10], first[1], first[2], first[6], first[8], first[5], many, many, many,
        sum(row[10] for row in records), sum(row[11] for row in records), sum(row[12] for row in records),
    )  # fmt: skip


def _use(records: list[_Row]) -> _Row:
    first = records[0]
    many = len(records)
    return (
        first[3][:10], first[1], first[2], first[8], first[6], first[7], first[16], many, many,
        sum(row[11] for row in records), max(row[3] for row in records),
    )  # fmt: skip
