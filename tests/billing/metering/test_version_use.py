"""Who still calls which version with what: sums of usage records, written with them."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from billing.metering import ledger as metering_ledger
from billing.metering import version_use
from billing.metering.version_use import Use
from billing.models import UsageRecord, UsageRollup, VersionUse
from tests.billing.conftest import NOON
from tests.conftest import Customer
from tests.support.examples import examples
from tests.support.walked_clock import Walk, walk

__all__ = ["walk"]

Meter = Callable[..., str]
DAY = 24 * 3_600_000_000
TODAY = dt.datetime(2026, 3, 1, 18, tzinfo=dt.UTC)


def lines() -> list[tuple[Any, ...]]:
    fields = (
        "day", "tenant", "key_uid", "api_version", "model", "model_version", "client", "calls", "units", "last_call_at",
    )  # fmt: skip
    return sorted(VersionUse.objects.values_list(*fields))


@pytest.mark.django_db
def test_use_is_counted_by_client_and_by_both_versions(
    acme: Customer, globex: Customer, meter: Meter, walk: Walk
) -> None:
    walk(TODAY)
    meter(acme, api_version="v1", client="app/1")
    meter(acme, api_version="v1", client="app/1", at=NOON + 60_000_000, requests=0)
    meter(acme, api_version="v1", client="app/2", model_version="2.0.0")
    meter(acme, api_version="v2", at=NOON - 29 * DAY)
    meter(globex, api_version="v1", at=NOON - 30 * DAY)
    metering_ledger.drain()
    assert version_use.use_of("api_version", "v1") == Use(tenants=1, calls=2)
    assert version_use.use_of("api_version", "v2") == Use(tenants=1, calls=1)
    assert version_use.use_of("api_version", "v1", days=31) == Use(tenants=2, calls=3)
    assert version_use.use_of("model_version", "sentiment@1.0.0") == Use(tenants=1, calls=2)
    assert version_use.use_of("model_version", "sentiment@2.0.0") == Use(tenants=1, calls=1)
    assert version_use.use_of("model_version", "sentiment@3.0.0") == Use(tenants=0, calls=0)
    assert version_use.tenants_using("api_version", "v1") == {acme.tenant.pk}
    line = VersionUse.objects.get(client="app/1")
    assert (line.calls, line.units) == (1, 2)
    assert line.last_call_at == dt.datetime(2026, 3, 1, 12, 1, tzinfo=dt.UTC)


@pytest.mark.django_db
def test_a_late_record_does_not_move_the_last_call_back(acme: Customer, meter: Meter) -> None:
    meter(acme)
    metering_ledger.drain()
    meter(acme, at=NOON - 60_000_000)
    metering_ledger.drain()
    assert VersionUse.objects.get().last_call_at == dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    assert VersionUse.objects.get().calls == 2


@pytest.mark.django_db
def test_a_record_that_comes_again_counts_once(acme: Customer, meter: Meter) -> None:
    meter(acme, id="one")
    metering_ledger.drain()
    before = lines()
    meter(acme, id="one")
    metering_ledger.drain()
    assert lines() == before


RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "units": st.integers(0, 50),
            "at": st.integers(0, 2).map(lambda days: NOON + days * DAY),
            "api_version": st.sampled_from(["v1", "v2"]),
            "model_version": st.sampled_from(["1.0.0", "2.0.0"]),
            "client": st.sampled_from(["", "curl/8"]),
            "requests": st.integers(0, 1),
        }
    ),
    max_size=12,
)


@pytest.mark.django_db
@examples(20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=RECORDS, cut=st.integers(0, 12))
def test_sums_made_bit_by_bit_are_those_made_anew(
    acme: Customer, meter: Meter, records: list[dict[str, Any]], cut: int
) -> None:
    for model in (UsageRecord, UsageRollup, VersionUse):
        model.objects.all().delete()
    for part in (records[:cut], records[cut:]):
        for record in part:
            meter(acme, **record)
        metering_ledger.drain(shards=[acme.tenant.shard])
    bit_by_bit = lines()
    for day in {row[0] for row in bit_by_bit}:
        metering_ledger.rebuild_day(day)
    assert lines() == bit_by_bit
    assert sum(row[7] for row in bit_by_bit) == sum(record["requests"] for record in records)
    assert sum(row[8] for row in bit_by_bit) == sum(record["units"] for record in records)
