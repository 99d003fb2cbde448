"""Reading the ledger: the month to date, reports, and sums that are made anew."""

import datetime as dt
import importlib
from typing import Any, Literal

import pytest
from django.apps import apps
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from billing.admission import Limit, LimitKind, Subject
from billing.metering import ledger as metering_ledger
from billing.metering import reports as usage_reports
from billing.models import UsageRecord, UsageRollup, VersionUse
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.billing.conftest import NOON
from tests.billing.metering.streams import DAY, HOUR, Meter, left, sums
from tests.conftest import Customer
from tests.support.examples import examples
from tests.support.redis_server import RedisServer


def limit(
    scope: Literal["tenant", "key", "model"] = "tenant",
    counts: Literal["units", "requests"] = "units",
    *,
    model: str = "",
    id: str = "r1",  # noqa: A002
) -> Limit:
    return Limit(
        id=id, name="month", kind=LimitKind.MONTHLY, counts=counts, scope=scope, subject=model, amount=1000, source=""
    )


@pytest.mark.django_db
def test_the_month_to_date_is_summed_for_what_the_limit_counts(
    acme: Customer, globex: Customer, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: dt.datetime(2026, 3, 31, 23, 59, tzinfo=dt.UTC))
    meter(acme, units=5, model="small")
    meter(acme, units=7, model="large", key_id="key_other")
    # A batch of two and its fee: one request.
    meter(acme, units=1, operation="batch", model="small")
    meter(acme, units=1, operation="batch", model="small", requests=0)
    meter(acme, units=50, operation="batch", model="", inputs=0, requests=0)
    meter(acme, units=1000, at=NOON - 13 * HOUR)
    meter(globex, units=2000)
    subject = Subject(
        tenant_id=acme.tenant.pk, shard=acme.tenant.shard, key_id=acme.key.uid, tenant_version=1, key_version=1
    )
    own = f"r1:{acme.key.uid}"
    expected = {
        limit(): 64,
        limit(counts="requests"): 3,
        limit("key", id=own): 57,
        limit("model", model="small"): 7,
        limit("model", "requests", model="small"): 2,
        limit("model", model="large"): 7,
        limit("model", model="large", id=own): 0,
        limit("model", model="unknown"): 0,
    }
    assert {rule: metering_ledger.month_to_date(rule, subject) for rule in expected} == expected
    assert left(acme) == (0, 0), "what only Redis knew was counted too"


@pytest.mark.django_db
def test_the_month_to_date_is_unavailable_while_redis_is_away(acme: Customer, state_redis: RedisServer) -> None:
    subject = Subject(tenant_id=1, shard=1, key_id="key_x", tenant_version=1, key_version=1)
    state_redis.stop()
    with pytest.raises(PlatformError) as caught:
        metering_ledger.month_to_date(limit(), subject)
    assert caught.value.kind is ErrorKind.UNAVAILABLE


@pytest.mark.django_db
def test_usage_is_grouped_for_the_tenant_and_the_days_that_are_asked_for(
    acme: Customer, globex: Customer, meter: Meter
) -> None:
    meter(acme, units=1, model="small")
    meter(acme, units=10, model="large", api_version="v1", at=NOON + 24 * HOUR)
    meter(acme, units=50, model="", operation="batch", inputs=0, requests=0, key_id="key_other")
    meter(acme, units=0, model="small", cached=True, at=NOON - 24 * HOUR)
    meter(globex, units=99)
    metering_ledger.drain()

    def lines(
        by: usage_reports.Grouping, first: dt.date = DAY, last: dt.date = DAY + dt.timedelta(1)
    ) -> list[tuple[str, int, int, int, int]]:
        found = usage_reports.summary(tenant_id=acme.tenant.pk, first=first, last=last, by=by).lines
        return [(line.value, line.calls, line.inputs, line.cached_inputs, line.units) for line in found]

    assert lines("day") == [("2026-03-01", 1, 1, 0, 51), ("2026-03-02", 1, 1, 0, 10)]
    assert lines("model") == [("", 0, 0, 0, 50), ("large", 1, 1, 0, 10), ("small", 1, 1, 0, 1)]
    assert lines("api_version") == [("v1", 1, 1, 0, 10), ("v2", 1, 1, 0, 51)]
    assert lines("operation") == [("batch", 0, 0, 0, 50), ("predict", 2, 2, 0, 11)]
    assert sorted(lines("key")) == sorted([(acme.key.uid, 2, 2, 0, 11), ("key_other", 0, 0, 0, 50)])
    assert lines("model", DAY - dt.timedelta(1), DAY - dt.timedelta(1)) == [("small", 1, 1, 1, 0)]
    assert lines("day", DAY + dt.timedelta(2), DAY + dt.timedelta(9)) == []


@pytest.mark.django_db
def test_what_an_older_release_wrote_counts_as_it_did(acme: Customer, meter: Meter) -> None:
    """In the stream, and in rows of the past: the number of calls of a model is known, and taken for that of its version."""
    meter(acme, requests=1)
    meter(acme, requests=0)
    metering_ledger.drain()
    rows = UsageRecord.objects.order_by("pk").values_list("requests", "model_requests", "version_requests")
    assert list(rows) == [(1, 1, 1), (0, 0, 0)]
    UsageRecord.objects.update(model_requests=1, version_requests=1)
    UsageRollup.objects.update(model_calls=0)
    VersionUse.objects.update(version_calls=0)
    importlib.import_module("billing.migrations.0005_calls_and_inputs").fill(apps, None)
    assert list(rows.all()) == [(1, 1, 1), (0, 0, 0)]
    assert UsageRollup.objects.get().model_calls == VersionUse.objects.get().version_calls == 1


RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "units": st.integers(0, 50),
            "at": st.sampled_from([NOON, NOON + 1, NOON + 12 * HOUR - 1, NOON + 12 * HOUR, NOON - 12 * HOUR - 1]),
            "model": st.sampled_from(["", "small", "large"]),
            "key_id": st.sampled_from(["key_1", "key_2"]),
            "api_version": st.sampled_from(["v1", "v2"]),
            "operation": st.sampled_from(["predict", "batch"]),
            "inputs": st.integers(0, 3),
            "cached": st.booleans(),
            "requests": st.integers(0, 1),
            "model_requests": st.integers(0, 1),
            "version_requests": st.integers(0, 1),
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
    UsageRecord.objects.all().delete()
    UsageRollup.objects.all().delete()
    for part in (records[:cut], records[cut:]):
        for record in part:
            meter(acme, **record)
        metering_ledger.drain(shards=[acme.tenant.shard])
    bit_by_bit = sums()
    days = {row[0] for row in bit_by_bit}
    assert sum(metering_ledger.rebuild_day(day) for day in days) == len(bit_by_bit)
    assert sums() == bit_by_bit
    assert sum(row[-1] for row in bit_by_bit) == sum(record["units"] for record in records)


@pytest.mark.django_db
def test_a_day_is_mended_by_its_records_and_others_are_left(acme: Customer, meter: Meter) -> None:
    meter(acme, units=5)
    meter(acme, units=6, at=NOON + 24 * HOUR)
    metering_ledger.drain()
    right = sums()
    UsageRollup.objects.update(units=999)
    UsageRollup.objects.create(day=DAY, tenant=acme.tenant, key_uid="key_x", operation="predict", units=1)
    assert metering_ledger.rebuild_day(DAY) == 1
    assert [row[-1] for row in sums()] == [5, 999]
    assert metering_ledger.rebuild_day(DAY + dt.timedelta(1)) == 1
    assert sums() == right
