"""Records that are taken back: the ledger keeps both, and every sum is as if neither had been."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from billing.admission import Limit, LimitKind, Subject
from billing.admission.keys import usage_stream
from billing.metering import ledger as metering_ledger
from billing.metering import reports as usage_reports
from billing.metering import version_use
from billing.metering import voids as usage_voids
from billing.models import UsageRecord, UsageRollup, VersionUse
from mlplatform.lib import clock, redis
from tests.billing.conftest import NOON
from tests.conftest import Customer

Meter = Callable[..., str]
DAY = dt.date(2026, 3, 1)
MONTH = Limit(id="m", name="monthly", kind=LimitKind.MONTHLY, counts="units", scope="tenant", subject="", amount=1000)


def void(customer: Customer, record_id: str, *, at: int = NOON + 400_000_000_000) -> None:
    redis.state().xadd(usage_stream(customer.tenant.shard), {"void": record_id, "at": at})


def totals(customer: Customer) -> list[tuple[int, ...]]:
    fields = ("calls", "inputs", "cached_inputs", "units", "saved_units")
    return list(UsageRollup.objects.filter(tenant=customer.tenant).values_list(*fields))


@pytest.mark.django_db
@pytest.mark.parametrize("drained_between", [True, False])
def test_a_record_that_is_taken_back_is_in_no_sum(acme: Customer, meter: Meter, drained_between: bool) -> None:
    meter(acme, units=10, held_units=12, cached=True)
    wrong = meter(acme, units=3, held_units=10, cached=True)
    if drained_between:
        assert metering_ledger.drain() == 2
        assert totals(acme) == [(2, 2, 2, 13, 9)]
    void(acme, wrong)
    assert metering_ledger.drain() == (1 if drained_between else 3)
    assert totals(acme) == [(1, 1, 1, 10, 2)]
    assert list(VersionUse.objects.values_list("calls", "units")) == [(1, 10)]
    taken_back = UsageRecord.objects.get(pk=f"{wrong}-void")
    assert (taken_back.voids_id, taken_back.units, taken_back.inputs, taken_back.requests) == (wrong, -3, -1, -1)
    assert taken_back.occurred_at == UsageRecord.objects.get(pk=wrong).occurred_at
    (line,) = usage_reports.summary(tenant_id=acme.tenant.pk, first=DAY, last=DAY, by="day").lines
    assert (line.calls, line.inputs, line.cached_inputs, line.units, line.saved_units) == (1, 1, 1, 10, 2)


@pytest.mark.django_db
def test_sums_that_are_made_anew_are_the_same(acme: Customer, meter: Meter) -> None:
    wrong = meter(acme, units=3, held_units=10, cached=True)
    void(acme, wrong)
    metering_ledger.drain()
    assert totals(acme) == [(0, 0, 0, 0, 0)]
    metering_ledger.rebuild_day(DAY)
    assert totals(acme) == [(0, 0, 0, 0, 0)]
    assert version_use.tenants_using_model("sentiment", days=10_000) == set()


@pytest.mark.django_db
def test_a_lost_counter_of_a_month_counts_nothing_of_it(
    acme: Customer, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: dt.datetime(2026, 3, 2, tzinfo=dt.UTC))
    meter(acme, units=10)
    wrong = meter(acme, units=3)
    void(acme, wrong)
    subject = Subject(acme.tenant.pk, acme.tenant.shard, acme.key.uid, 1, 1)
    assert metering_ledger.month_to_date(MONTH, subject) == 10


@pytest.mark.django_db
def test_it_is_taken_back_once_however_often_that_is_said(acme: Customer, meter: Meter) -> None:
    wrong = meter(acme, units=3)
    void(acme, wrong)
    void(acme, wrong)
    metering_ledger.drain()
    void(acme, wrong)
    assert metering_ledger.drain() == 0
    assert totals(acme) == [(0, 0, 0, 0, 0)]


@pytest.mark.django_db
def test_a_void_waits_for_its_record_which_another_drainer_may_hold(
    acme: Customer, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC))
    void(acme, "hold-of-another", at=NOON)
    meter(acme, units=5)
    assert metering_ledger.drain() == 1
    assert metering_ledger.drain() == 0
    assert redis.state().xlen(usage_stream(acme.tenant.shard)) == 1
    meter(acme, units=3, id="hold-of-another")
    assert metering_ledger.drain() == 2
    assert redis.state().xlen(usage_stream(acme.tenant.shard)) == 0
    assert sum(units for *_, units, _ in totals(acme)) == 5


@pytest.mark.django_db
def test_a_void_whose_record_never_comes_is_kept_aside_with_the_reason(
    acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: dt.datetime(2026, 3, 1, 13, 0, 1, tzinfo=dt.UTC))
    void(acme, "never", at=NOON)
    void(acme, "x" * 60, at=NOON)
    metering_ledger.drain()
    entries: Any = redis.state().xrange(metering_ledger.dead_stream(acme.tenant.shard))
    reasons = [fields[b"reason"].decode() for _, fields in entries]
    assert sorted(reasons) == ["the id is out of range", "there is no record never to take back"]
    assert redis.state().xlen(usage_stream(acme.tenant.shard)) == 0


@pytest.mark.django_db
def test_only_what_takes_back_may_be_negative(acme: Customer, meter: Meter) -> None:
    record_id = meter(acme, units=3)
    metering_ledger.drain()
    record = UsageRecord.objects.get(pk=record_id)
    for wrong in (
        UsageRecord(id="a", tenant=acme.tenant, key_uid="k", occurred_at=record.occurred_at, units=-1),
        UsageRecord(id="b", tenant=acme.tenant, key_uid="k", occurred_at=record.occurred_at, units=1, voids=record),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            wrong.save()
    usage_voids.counter_record(record).save()
    other = usage_voids.counter_record(record)
    other.id = "another"
    with pytest.raises(IntegrityError), transaction.atomic():
        other.save(force_insert=True)
