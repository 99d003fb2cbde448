"""From the streams to the ledger: every metered fact is stored and summed once, whichever process dies or entry comes again."""

import datetime as dt
import threading
from collections.abc import Sequence

import pytest
from django.db import IntegrityError, connection

from billing import charging, contracts
from billing.admission.keys import usage_stream
from billing.metering import entries as usage_entries
from billing.metering import ledger as metering_ledger
from billing.metering import reports as usage_reports
from billing.models import UsageRecord, UsageRollup
from billing.tasks import drain_usage
from mlplatform.lib import redis
from tenants.authentication import authenticate
from tests.billing.conftest import NOON
from tests.billing.metering.streams import DAY, Meter, left, sample, sums
from tests.conftest import Customer
from tests.support.second_process import SecondProcess


@pytest.mark.django_db
def test_a_record_is_stored_with_every_field_and_summed(acme: Customer, globex: Customer, meter: Meter) -> None:
    record_id = meter(acme, units=10, model="large", inputs=1, client="x" * 120)
    meter(acme, units=1, model="large", cached=True)
    meter(globex, units=7)
    assert drain_usage() == 3
    record = UsageRecord.objects.get(pk=record_id)
    assert record.tenant == acme.tenant
    assert record.key_uid == acme.key.uid
    assert record.occurred_at == dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    assert (record.request_id, record.operation, record.model) == (f"req-{record_id}", "predict", "large")
    assert (record.model_version, record.api_version, record.client) == ("1.0.0", "v2", "x" * 120)
    assert (record.inputs, record.cached, record.units, record.requests) == (1, False, 10, 1)
    line = UsageRollup.objects.get(tenant=acme.tenant)
    assert (line.day, line.calls, line.inputs, line.cached_inputs, line.units) == (DAY, 2, 2, 1, 11)
    assert UsageRollup.objects.get(tenant=globex.tenant).units == 7
    assert left(acme) == left(globex) == (0, 0)
    assert drain_usage() == 0


@pytest.mark.django_db
def test_what_the_product_writes_is_what_the_ledger_reads(acme: Customer) -> None:
    contract = contracts.contract_of(authenticate(acme.secret, address="192.0.2.1"))
    body = charging.record(
        contract=contract,
        request_id="req-1",
        operation="batch",
        model="large",
        model_version="1.0.0",
        api_version="v2",
        inputs=1,
        cached=False,
        requests=0,
        held_units=10,
        client="c" * 500,
    )
    fields = {b"id": b"h1", b"at": str(NOON).encode(), b"units": b"10", b"record": body}
    record, shared = usage_entries.parse(fields), usage_entries.parse(fields | {b"units": b"1"})
    assert isinstance(record, UsageRecord)
    assert isinstance(shared, UsageRecord)
    assert (record.tenant_id, record.key_uid, record.operation) == (acme.tenant.pk, acme.key.uid, "batch")
    assert (record.cached, record.requests, record.client) == (False, 0, "c" * 120)
    assert (shared.cached, shared.units) == (True, 1), "it was answered with an equal input's computation"


@pytest.mark.django_db
def test_what_a_cached_answer_cost_less_is_counted_as_saved(acme: Customer, meter: Meter) -> None:
    meter(acme, units=1, held_units=10, cached=True)
    meter(acme, units=1, held_units=10)  # answered with an equal input's computation
    meter(acme, units=10, held_units=10)
    meter(acme, units=3, held_units=2, cached=True)  # a cached answer may cost more
    meter(acme, units=5, held_units=50, inputs=0)  # a call's fee
    meter(acme, units=4, held_units=0, cached=True)  # of an older release
    metering_ledger.drain()
    assert sorted(UsageRecord.objects.values_list("units", "saved_units")) == [
        (1, 9), (1, 9), (3, 0), (4, 0), (5, 0), (10, 0),
    ]  # fmt: skip
    (line,) = usage_reports.summary(tenant_id=acme.tenant.pk, first=DAY, last=DAY, by="day").lines
    assert (line.inputs, line.cached_inputs, line.units, line.saved_units) == (5, 4, 24, 18)
    UsageRollup.objects.update(saved_units=0)
    metering_ledger.rebuild_day(DAY)
    assert UsageRollup.objects.get().saved_units == 18


@pytest.mark.django_db
def test_a_record_that_comes_again_counts_once(acme: Customer, meter: Meter) -> None:
    repeated = sample("mlplatform_usage_records_repeated_total")
    for _ in range(2):
        meter(acme, id="hold-1", units=5)
    assert metering_ledger.drain() == 1
    meter(acme, id="hold-1", units=5)
    meter(acme, id="hold-2", units=6)
    assert metering_ledger.drain() == 1
    assert UsageRollup.objects.get().units == 11
    assert UsageRecord.objects.count() == 2
    assert sample("mlplatform_usage_records_repeated_total") == repeated + 2


@pytest.mark.django_db
def test_more_than_one_helping_is_drained(acme: Customer, meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering_ledger, "BATCH", 4)
    for _ in range(11):
        meter(acme)
    assert metering_ledger.drain() == 11
    assert left(acme) == (0, 0)


KILLED = """
from billing.metering import ledger as usage
usage.drain(after_commit=lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_a_drainer_killed_between_commit_and_acknowledgement_counts_nothing_twice(
    acme: Customer, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        meter(acme, units=number)
    with SecondProcess(KILLED) as drainer:
        assert drainer.wait() == -9
    assert UsageRecord.objects.count() == 20, "it had committed"
    assert left(acme) == (20, 20), "and not acknowledged"
    before = sums()
    meter(acme, units=100)
    monkeypatch.setattr(metering_ledger, "CLAIM_AFTER_MS", 0)
    assert metering_ledger.drain() == 1
    assert UsageRecord.objects.count() == 21
    assert UsageRollup.objects.get().units == sum(range(20)) + 100
    assert before[0][-1] == sum(range(20))
    assert left(acme) == (0, 0)


@pytest.mark.django_db
def test_what_a_dead_drainer_read_is_claimed_after_a_while_only(
    acme: Customer, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter(acme, units=3)
    stream = usage_stream(acme.tenant.shard)
    redis.state().xgroup_create(stream, metering_ledger.GROUP, id="0")
    redis.state().xreadgroup(metering_ledger.GROUP, "a-dead-one", {stream: ">"})
    assert metering_ledger.drain() == 0, "it may still be at work"
    assert left(acme) == (1, 1)
    monkeypatch.setattr(metering_ledger, "CLAIM_AFTER_MS", 0)
    assert metering_ledger.drain() == 1
    assert left(acme) == (0, 0)


@pytest.mark.django_db
def test_when_the_acknowledgement_fails_the_same_drainer_takes_its_entries_again(acme: Customer, meter: Meter) -> None:
    meter(acme, units=3)

    def fail() -> None:
        raise RuntimeError("between commit and acknowledgement")

    with pytest.raises(RuntimeError):
        metering_ledger.drain(after_commit=fail)
    assert left(acme) == (1, 1)
    assert metering_ledger.drain() == 0
    assert UsageRollup.objects.get().units == 3
    assert left(acme) == (0, 0)


@pytest.mark.django_db
def test_an_entry_that_was_deleted_while_it_was_read_is_no_obstacle(acme: Customer, meter: Meter) -> None:
    meter(acme)
    stream = usage_stream(acme.tenant.shard)

    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        metering_ledger.drain(after_commit=fail)
    redis.state().xtrim(stream, maxlen=0)
    meter(acme)
    assert metering_ledger.drain() == 1
    assert left(acme) == (0, 0)


RACING = """
from billing.metering import ledger as usage
usage.CLAIM_AFTER_MS = 0  # It takes what the other has just read, which is the worst that can happen.
usage.BATCH = 7
say("ready")
hear()
say(usage.drain())
"""


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_two_drainers_at_once_count_each_record_once(acme: Customer, globex: Customer, meter: Meter) -> None:
    with SecondProcess(RACING) as first, SecondProcess(RACING) as second:
        for number in range(60):
            meter(acme, units=number)
            meter(globex, units=1)
        assert (first.hear(), second.hear()) == ("ready", "ready")
        first.say(True)
        second.say(True)
        assert first.hear() + second.hear() == 120
    assert UsageRecord.objects.count() == 120
    assert UsageRollup.objects.get(tenant=acme.tenant).units == sum(range(60))
    assert UsageRollup.objects.get(tenant=globex.tenant).calls == 60
    assert left(acme) == left(globex) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_threads_of_one_process_count_each_record_once(acme: Customer, meter: Meter) -> None:
    """A web process drains when it rebuilds a monthly counter, and its threads are one consumer."""
    for number in range(50):
        meter(acme, units=number)
    stored: list[int] = []

    def run() -> None:
        stored.append(metering_ledger.drain(shards=[acme.tenant.shard]))
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(stored) == 50
    assert UsageRollup.objects.get().units == sum(range(50))
    assert left(acme) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_a_record_that_another_drainer_stores_meanwhile_is_recognised(
    acme: Customer, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter(acme, id="hold-1", units=5)
    meter(acme, id="hold-2", units=6)
    real, tries = metering_ledger.store, []

    def meet(records: Sequence[UsageRecord]) -> int:
        tries.append(len(records))
        if len(tries) == 1:
            real([record for record in records if record.pk == "hold-1"])
            raise IntegrityError("UNIQUE constraint failed")
        return real(records)

    monkeypatch.setattr(metering_ledger, "store", meet)
    assert metering_ledger.drain() == 1
    assert tries == [2, 2]
    assert UsageRollup.objects.get().units == 11
