"""From the shards' streams to the ledger in SQL, with an exactly-once effect, and the sums that reports and pages read.

A consumer group reads each shard's stream; records and daily sums are written in one transaction, then acknowledged
and trimmed. When the drainer dies in between, the records come again and are recognised by their ids. An entry that can
never be stored goes to the shard's dead stream, with the reason, so that it holds up no other record and is not lost.
"""

import datetime as dt
import logging
import os
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from django.db import DataError, IntegrityError, OperationalError, transaction
from django.db.models import F, Q, Sum
from prometheus_client import Counter, Gauge

from billing.admission import Limit, Subject
from billing.admission.keys import usage_stream
from billing.contracts import counts_one_key
from billing.metering import entries as usage_entries
from billing.metering import version_use
from billing.metering import voids as usage_voids
from billing.models import UsageRecord, UsageRollup
from mlplatform.lib import clock, redis
from mlplatform.lib.errors import unavailable
from tenants.models import Tenant
from tenants.models.tenant import SHARDS

logger = logging.getLogger(__name__)

_draining: Final = threading.Lock()

GROUP: Final = "ledger"
BATCH: Final = 500
CLAIM_AFTER_MS: Final = 30_000
_TRIES: Final = 3

_drained = Counter("mlplatform_usage_records_drained_total", "Usage records that were stored in SQL.")
_repeated = Counter("mlplatform_usage_records_repeated_total", "Usage records that came again and were recognised.")
_dead = Counter("mlplatform_usage_records_dead_total", "Usage records that cannot be stored, kept in dead streams.")
_lag = Gauge(
    "mlplatform_usage_stream_entries",
    "Entries of all usage streams before the last drain.",
    multiprocess_mode="mostrecent",
)


def drain(*, shards: Sequence[int] = range(SHARDS), after_commit: Callable[[], None] | None = None) -> int:
    """Move what lies in the shards' streams to SQL and give the number of new records.

    ``after_commit`` runs between commit and acknowledgement; tests die there. Raises what Redis or SQL raise; what is
    wrong with one stream alone does not keep the others from being drained first.
    """
    client = redis.state()
    pipe = client.pipeline(transaction=False)
    for shard in shards:
        pipe.xlen(usage_stream(shard))
    lengths = pipe.execute()
    _lag.set(sum(lengths))
    stored = 0
    failure: Exception | None = None
    for shard, length in zip(shards, lengths, strict=True):
        if not length:
            continue
        try:
            # One thread at a time: the threads of a process are one consumer, and would store the same entries.
            with _draining:
                stored += _drain_stream(usage_stream(shard), after_commit or (lambda: None))
        except (OperationalError, *redis.FAILURES):
            raise
        except Exception as error:
            logger.exception("the stream of shard %s could not be drained", shard)
            failure = failure or error
    if failure is not None:
        raise failure
    return stored


def dead_stream(shard: int) -> str:
    """The stream of a shard's entries that cannot be stored: their fields, and ``reason`` and ``entry`` (first id)."""
    return f"{usage_stream(shard)}-dead"


def _drain_stream(stream: str, after_commit: Callable[[], None]) -> int:
    client = redis.state()
    _ensure_group(stream)
    consumer = f"{socket.gethostname()}:{os.getpid()}"
    stored = 0
    while True:
        # First what a drainer that died has left unacknowledged, then what is new.
        _, claimed, _ = client.xautoclaim(
            stream, GROUP, consumer, min_idle_time=CLAIM_AFTER_MS, start_id="0-0", count=BATCH
        )
        entries = claimed or _read(stream, consumer, "0") or _read(stream, consumer, ">")
        if not entries:
            return stored
        number, dead, early = _store_entries(entries)
        stored += number
        after_commit()
        ids = [entry_id for entry_id, _ in entries]
        pipe = client.pipeline(transaction=True)
        for entry_id, fields in entries:
            if entry_id in early:
                again: dict[Any, Any] = {**fields}
                pipe.xadd(stream, again)  # It comes again after what it waits for.
            if entry_id in dead:
                kept: dict[Any, Any] = {**fields, b"reason": dead[entry_id].encode(), b"entry": entry_id}
                pipe.xadd(f"{stream}-dead", kept)
        pipe.xack(stream, GROUP, *ids)
        pipe.xdel(stream, *ids)
        pipe.execute()
        for entry_id, reason in dead.items():
            _dead.inc()
            logger.error("entry %s of %s cannot be stored and went to its dead stream: %s", entry_id, stream, reason)
        if len(early) == len(entries):
            return stored  # The next drain looks at them again.


def _store_entries(
    entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]],
) -> tuple[int, dict[bytes, str], set[bytes]]:
    """Store what can be stored; give the number of new records, the reason for each entry that never will be, and voids
    that came before their records."""
    dead: dict[bytes, str] = {}
    records: dict[bytes, UsageRecord] = {}
    voids: dict[bytes, usage_entries.Void] = {}
    for entry_id, fields in entries:
        if not fields:
            continue  # Deleted from the stream while it was unacknowledged.
        try:
            parsed = usage_entries.parse(fields)
            if isinstance(parsed, usage_entries.Void):
                voids[entry_id] = parsed
            else:
                records[entry_id] = parsed
        except ValueError as error:
            dead[entry_id] = str(error)
    wanted = {record.tenant_id for record in records.values()}
    tenants = set(Tenant.objects.filter(pk__in=wanted).values_list("pk", flat=True))
    for entry_id in [entry_id for entry_id, record in records.items() if record.tenant_id not in tenants]:
        dead[entry_id] = f"there is no tenant {records.pop(entry_id).tenant_id}"
    counter, early, lost = usage_voids.counter_records(voids, list(records.values()))
    records |= counter
    dead |= lost
    for _ in range(_TRIES):
        try:
            return store(list(records.values())), dead, early
        except (IntegrityError, DataError):
            logger.warning("usage records met another drainer, or one of them cannot be stored", exc_info=True)
    stored = 0
    for entry_id, record in records.items():
        try:
            stored += store([record])
        except (IntegrityError, DataError) as error:
            dead[entry_id] = str(error)
    return stored, dead, early


def _read(stream: str, consumer: str, start: str) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
    reply = redis.state().xreadgroup(GROUP, consumer, {stream: start}, count=BATCH)
    if not reply:
        return []
    # RESP2 gives pairs, RESP3 a mapping whose values lie one list deeper.
    entries = next(iter(reply.values()))[0] if isinstance(reply, dict) else reply[0][1]
    return list(entries)


def _ensure_group(stream: str) -> None:
    try:
        redis.state().xgroup_create(stream, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


def store(records: Sequence[UsageRecord]) -> int:
    """Insert the records that are not there yet, and add them to their days, in one transaction.

    Gives the number of new ones. Raises IntegrityError, and stores none, when another drainer stores one of them now.
    """
    number = _insert(records)
    _drained.inc(number)
    _repeated.inc(len(records) - number)
    return number


@transaction.atomic
def _insert(records: Sequence[UsageRecord]) -> int:
    unique = {record.id: record for record in records}
    known = set(UsageRecord.objects.filter(pk__in=unique).values_list("pk", flat=True))
    fresh = [record for record in unique.values() if record.pk not in known]
    # No ignore_conflicts: were another drainer to store one of these in between, the sums would count it twice; so
    # the transaction fails instead, and the next try recognises them.
    UsageRecord.objects.bulk_create(fresh)
    _add_to_days(fresh)
    version_use.add(fresh)
    return len(fresh)


def _add_to_days(records: Sequence[UsageRecord]) -> None:
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0, 0])
    for record in records:
        subject = (
            record.occurred_at.date(), record.tenant_id, record.key_uid, record.model, record.api_version, record.operation,
        )  # fmt: skip
        total = sums[subject]
        total[0] += record.requests
        total[1] += record.inputs
        total[2] += record.inputs if record.cached else 0
        total[3] += record.units
        total[4] += record.saved_units
        total[5] += record.model_requests
    # In one order everywhere, so that two drainers wait for each other instead of locking each other out.
    for subject in sorted(sums):
        day, tenant_id, key_uid, model, api_version, operation = subject
        calls, inputs, cached_inputs, units, saved_units, model_calls = sums[subject]
        line: dict[str, Any] = {
            "day": day,
            "tenant_id": tenant_id,
            "key_uid": key_uid,
            "model": model,
            "api_version": api_version,
            "operation": operation,
        }
        # Most lines are there. One that is not, or was deleted by a rebuild meanwhile, is made and added to again.
        while not UsageRollup.objects.filter(**line).update(
            calls=F("calls") + calls,
            model_calls=F("model_calls") + model_calls,
            inputs=F("inputs") + inputs,
            cached_inputs=F("cached_inputs") + cached_inputs,
            units=F("units") + units,
            saved_units=F("saved_units") + saved_units,
        ):
            UsageRollup.objects.get_or_create(**line)


def month_to_date(limit: Limit, subject: Subject) -> int:
    """What the ledger has of the running month (UTC) for a monthly limit whose counter Redis lost.

    The tenant's stream is drained first, so that facts which only Redis knows are counted too. Raises UNAVAILABLE
    while Redis is away, and what SQL raises.
    """
    try:
        drain(shards=[subject.shard])
    except redis.FAILURES as error:
        raise unavailable("Usage cannot be checked at this moment; nothing was charged. Please try again.") from error
    first = clock.now().date().replace(day=1)
    rows = UsageRollup.objects.filter(tenant_id=subject.tenant_id, day__gte=first)
    if counts_one_key(limit, subject.key_id):
        rows = rows.filter(key_uid=subject.key_id)
    if limit.scope == "model":
        rows = rows.filter(model=limit.subject)
    calls = "model_calls" if limit.scope == "model" else "calls"
    total = rows.aggregate(total=Sum("units" if limit.counts == "units" else calls))["total"]
    return int(total or 0)


@transaction.atomic
def rebuild_day(day: dt.date) -> int:
    """Compute a day's sums from its records anew, and give the number of lines. For repairs by hand.

    Raises IntegrityError, and changes nothing, where the first record of a subject is stored in the same moment.
    """
    # Deleted first, then summed: that waits for drainers that are adding, and sees the records that they add.
    UsageRollup.objects.filter(day=day).delete()
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    rows = (
        UsageRecord.objects.filter(occurred_at__gte=start, occurred_at__lt=start + dt.timedelta(days=1))
        .values("tenant_id", "key_uid", "model", "api_version", "operation")
        .annotate(
            total_calls=Sum("requests"),
            total_model_calls=Sum("model_requests"),
            total_inputs=Sum("inputs"),
            total_cached=Sum("inputs", filter=Q(cached=True), default=0),
            total_units=Sum("units"),
            total_saved=Sum("saved_units"),
        )
        .order_by()
    )
    lines = [
        UsageRollup(
            day=day,
            tenant_id=row["tenant_id"],
            key_uid=row["key_uid"],
            model=row["model"],
            api_version=row["api_version"],
            operation=row["operation"],
            calls=row["total_calls"],
            model_calls=row["total_model_calls"],
            inputs=row["total_inputs"],
            cached_inputs=row["total_cached"],
            units=row["total_units"],
            saved_units=row["total_saved"],
        )
        for row in rows
    ]
    version_use.rebuild_day(day)
    return len(UsageRollup.objects.bulk_create(lines))
