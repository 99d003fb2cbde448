"""From the streams to the ledger: every metered fact is stored and summed once, whoever dies and whatever comes again."""

import datetime as dt
import importlib
import threading
from collections.abc import Callable
from typing import Any, Literal, cast

import msgspec
import pytest
from django.apps import apps
from django.db import IntegrityError, OperationalError, connection
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from billing import charging, contracts
from billing.admission import Limit, LimitKind, Subject
from billing.admission.keys import usage_stream
from billing.metering import entries as usage_entries
from billing.metering import ledger as metering_ledger
from billing.metering import reports as usage_reports
from billing.models import UsageRecord, UsageRollup, VersionUse
from billing.tasks import drain_usage
from mlplatform.lib import clock, redis
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import authenticate
from tests.billing.conftest import NOON
from tests.conftest import Customer
from tests.support.examples import examples
from tests.support.redis_server import RedisServer
from tests.support.second_process import SecondProcess

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
    """Entries in the customer's stream, and those that somebody read and did not acknowledge."""
    stream = usage_stream(customer.tenant.shard)
    return redis.state().xlen(stream), redis.state().xpending(stream, metering_ledger.GROUP)["pending"]


def sample(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


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
    monkeypatch.setattr(metering_ledger, "_BATCH", 4)
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
    monkeypatch.setattr(metering_ledger, "_CLAIM_AFTER_MS", 0)
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
    monkeypatch.setattr(metering_ledger, "_CLAIM_AFTER_MS", 0)
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
usage._CLAIM_AFTER_MS = 0  # It takes what the other has just read, which is the worst that can happen.
usage._BATCH = 7
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
    real, tries = metering_ledger._insert, []

    def meet(records: list[UsageRecord]) -> int:
        tries.append(len(records))
        if len(tries) == 1:
            real([record for record in records if record.pk == "hold-1"])
            raise IntegrityError("UNIQUE constraint failed")
        return real(records)

    monkeypatch.setattr(metering_ledger, "_insert", meet)
    assert metering_ledger.drain() == 1
    assert tries == [2, 2]
    assert UsageRollup.objects.get().units == 11


# --- Entries that can never be stored --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"raw": b"\xc1no msgpack"},
        {"raw": msgspec.msgpack.encode({"tenant_id": 1})},
        {"raw": msgspec.msgpack.encode([1, 2])},
        {"tenant_id": 4_000_000},
        {"tenant_id": "acme"},
        {"tenant_id": -1},
        {"model": "m" * 128},
        {"request_id": "a\x00b"},
        {"inputs": -1},
        {"requests": 2},
        {"cached": "yes"},
        {"at": "yesterday"},
        {"at": 10**30},
        {"units": "many"},
        {"units": -1},
        {"units": 2**63},
        {"id": "h" * 65},
    ],
)
@pytest.mark.django_db(transaction=True)
def test_an_entry_that_can_never_be_stored_is_put_aside_and_holds_up_nobody(
    acme: Customer, meter: Meter, wrong: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    dead = sample("mlplatform_usage_records_dead_total")
    meter(acme, units=1)
    meter(acme, **wrong)
    meter(acme, units=2)
    original = entries_of(usage_stream(acme.tenant.shard))[1]
    assert metering_ledger.drain() == 2
    assert UsageRollup.objects.get().units == 3
    assert left(acme) == (0, 0)
    ((_, kept),) = entries_of(metering_ledger.dead_stream(acme.tenant.shard))
    assert kept.pop(b"reason")
    assert kept.pop(b"entry") == original[0]
    assert kept == original[1], "nothing of it is lost"
    assert sample("mlplatform_usage_records_dead_total") == dead + 1
    assert "went to its dead stream" in caplog.text
    assert metering_ledger.drain() == 0
    assert redis.state().xlen(metering_ledger.dead_stream(acme.tenant.shard)) == 1


@pytest.mark.django_db
def test_an_entry_without_a_field_is_put_aside(acme: Customer) -> None:
    redis.state().xadd(usage_stream(acme.tenant.shard), {"id": "h1", "at": NOON, "units": 1})
    assert metering_ledger.drain() == 0
    ((_, kept),) = entries_of(metering_ledger.dead_stream(acme.tenant.shard))
    assert kept[b"reason"] == b"the field b'record' is missing"


@pytest.mark.django_db(transaction=True)
def test_what_sql_refuses_is_found_one_by_one(acme: Customer, meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = meter(acme, units=100)
    for _ in range(3):
        meter(acme, units=1)
    real = metering_ledger._insert

    def refuse(records: list[UsageRecord]) -> int:
        if bad in {record.pk for record in records}:
            raise IntegrityError("a constraint of tomorrow")
        return real(records)

    monkeypatch.setattr(metering_ledger, "_insert", refuse)
    assert metering_ledger.drain() == 3
    assert UsageRollup.objects.get().units == 3
    ((_, kept),) = entries_of(metering_ledger.dead_stream(acme.tenant.shard))
    assert (kept[b"id"].decode(), kept[b"reason"]) == (bad, b"a constraint of tomorrow")


@pytest.mark.django_db
def test_a_broken_stream_does_not_keep_the_others_from_being_drained(
    acme: Customer, globex: Customer, meter: Meter
) -> None:
    first, last = sorted((acme, globex), key=lambda customer: customer.tenant.shard)
    redis.state().xadd(usage_stream(first.tenant.shard), {"id": "x"})
    redis.state().delete(usage_stream(first.tenant.shard))
    meter(last, units=2)
    meter(first, units=1)
    real = metering_ledger._store_entries

    def fail_for_first(entries: list[tuple[bytes, dict[bytes, bytes]]]) -> tuple[int, dict[bytes, str], set[bytes]]:
        if msgspec.msgpack.decode(entries[0][1][b"record"])["tenant_id"] == first.tenant.pk:
            raise RuntimeError("this stream alone")
        return real(entries)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metering_ledger, "_store_entries", fail_for_first)
        with pytest.raises(RuntimeError, match="this stream alone"):
            metering_ledger.drain()
    assert UsageRollup.objects.get().tenant == last.tenant
    assert metering_ledger.drain() == 1


@pytest.mark.django_db
def test_while_sql_is_locked_nothing_is_acknowledged(
    acme: Customer, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter(acme)

    def locked(records: object) -> int:
        raise OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(metering_ledger, "_insert", locked)
        with pytest.raises(OperationalError):
            metering_ledger.drain()
    assert left(acme) == (1, 1)
    assert metering_ledger.drain() == 1


# --- Reading the ledger ----------------------------------------------------------------------------------------------


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
