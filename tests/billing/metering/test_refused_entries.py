"""Entries that cannot be stored, for ever or for now: they are put aside or stay, and hold up no other."""

from collections.abc import Mapping, Sequence

import msgspec
import pytest
from django.db import IntegrityError, OperationalError

from billing.admission.keys import usage_stream
from billing.metering import entries as usage_entries
from billing.metering import ledger as metering_ledger
from billing.models import UsageRecord, UsageRollup
from mlplatform.lib import redis
from tests.billing.conftest import NOON
from tests.billing.metering.streams import Meter, entries_of, left, sample
from tests.conftest import Customer


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
def test_an_entry_that_can_never_be_stored_is_put_aside_and_holds_up_no_other(
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
    real = metering_ledger.store

    def refuse(records: Sequence[UsageRecord]) -> int:
        if bad in {record.pk for record in records}:
            raise IntegrityError("a constraint of tomorrow")
        return real(records)

    monkeypatch.setattr(metering_ledger, "store", refuse)
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
    real = usage_entries.parse

    def fail_for_first(fields: Mapping[bytes, bytes]) -> UsageRecord | usage_entries.Void:
        if msgspec.msgpack.decode(fields[b"record"])["tenant_id"] == first.tenant.pk:
            raise RuntimeError("this stream alone")
        return real(fields)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(usage_entries, "parse", fail_for_first)
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
        patch.setattr(metering_ledger, "store", locked)
        with pytest.raises(OperationalError):
            metering_ledger.drain()
    assert left(acme) == (1, 1)
    assert metering_ledger.drain() == 1
