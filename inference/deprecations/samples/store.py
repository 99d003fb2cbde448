"""Sampled calls of deprecated versions: what a notice rewrites, and what a rehearsal replays.

The path of a request only puts a sample into memory, once a minute for each key and subject; a thread writes it to SQL.
What SQL cannot take at that moment is dropped: the next minute brings another. A sample is the shape of a call unless its
tenant opted in to keep calls whole, and even then only up to 10 kB.
"""

import datetime as dt
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connection, transaction
from django.db.models import QuerySet
from prometheus_client import Counter

from inference import api_versions
from inference.deprecations.samples.redaction import redact
from inference.engine.predict import Answer
from inference.models import CallSample
from inference.registry import live
from mlplatform.lib import clock
from mlplatform.lib.background import Ticker
from tenants.authentication import Caller
from tenants.deprecations import catalogue
from tenants.deprecations.rules import Schedule
from tenants.models import SubjectKind, Tenant

__all__ = [
    "any_schedules", "flush", "forget", "latest", "offer", "opt_in", "opt_out", "purge", "redact", "replayable", "schedules_of",
]  # fmt: skip

logger = logging.getLogger(__name__)

KEPT_DAYS: Final = 30
KEPT_A_SUBJECT: Final = 50
EVERY: Final = dt.timedelta(minutes=1)
LARGEST_WHOLE_BYTES: Final = 10_000
MOST_WAITING: Final = 500
_REMEMBERED: Final = 10_000
_AT_ONCE: Final = 200
_CLIENT_CHARS: Final = 120

_dropped: Final = Counter(
    "mlplatform_call_samples_dropped_total", "Sampled calls that were not kept, by reason.", ["reason"]
)


@dataclass(frozen=True, slots=True)
class _Sample:
    """A sample on its way to SQL. ``whole`` is False where it is redacted already, because it is large."""

    tenant_id: int
    kind: str
    subject: str
    api_version: str
    model: str
    key_uid: str
    client: str
    body: Any
    answer: Any
    expected: Any
    whole: bool
    called_at: dt.datetime

    @property
    def source(self) -> tuple[int, str, str, str]:
        """What at most one sample a minute is kept of."""
        return self.tenant_id, self.kind, self.subject, self.key_uid


_lock: Final = threading.Lock()
_waiting: Final[deque[_Sample]] = deque()
_last: Final[OrderedDict[tuple[int, str, str, str], dt.datetime]] = OrderedDict()


# --- On the path of a request -----------------------------------------------------------------------------------------


def any_schedules(api_version: str) -> bool:
    """Whether a call of this API version can have used anything that has a schedule."""
    known = catalogue.current()
    version = known.api_versions.get(api_version)
    return bool(known.models) or (version is not None and version.schedule is not None)


def schedules_of(api_version: str, models: Iterable[str], *, tenant_id: int) -> list[tuple[Schedule, int]]:
    """The schedules of what a call used, each with the index of the first of its models that is meant.

    Samples are taken before the announcement too, so that the announcement can show the tenant's own call.
    """
    known = catalogue.current()
    version = known.api_versions.get(api_version)
    found = [(version.schedule, 0)] if version is not None and version.schedule is not None else []
    if known.models:
        seen: set[int] = set()
        for index, model in enumerate(models):
            schedule = known.models.get(live.subject_of(model, tenant_id=tenant_id))
            if schedule is not None and schedule.id not in seen:
                seen.add(schedule.id)
                found.append((schedule, index))
    return found


def offer(
    *,
    schedule: Schedule,
    caller: Caller,
    api_version: str,
    model: str,
    body: Mapping[str, Any],
    answer: Answer,
    client: str = "",
) -> None:
    """Sample an answered call of one input, unless this key had one within the minute. Never raises, never waits for SQL.

    ``model`` is what the call named, in its body or its address; the sample says it in the body. A call that named none
    used the tenant's default.
    """
    now = clock.now()
    source = (caller.tenant_id, schedule.kind, schedule.subject, caller.key_uid)
    with _lock:
        last = _last.get(source)
        if last is not None and now - last < EVERY:
            return
        _last[source] = now
        _last.move_to_end(source)
        while len(_last) > _REMEMBERED:
            _last.popitem(last=False)
    try:
        sample = _sample(source, schedule, api_version, model, body, answer, client, now)
    except Exception:
        # Whatever is wrong with a sample is no reason to keep the customer's answer back.
        logger.exception("a call of %s could not be sampled", schedule.subject)
        _dropped.labels("unreadable").inc()
        return
    with _lock:
        if len(_waiting) >= MOST_WAITING:
            _dropped.labels("full").inc()
            return
        _waiting.append(sample)
    _ticker.ensure_started()


def _sample(
    source: tuple[int, str, str, str],
    schedule: Schedule,
    api_version: str,
    model: str,
    body: Mapping[str, Any],
    answer: Answer,
    client: str,
    now: dt.datetime,
) -> _Sample:
    tenant_id, kind, subject, key_uid = source
    if kind == SubjectKind.MODEL_VERSION:
        model = model or subject
    sent = {**({"model": model} if model and "model" not in body else {}), **body}
    answered = _json(api_versions.render(api_version, answer))
    expected = None
    if kind == SubjectKind.API_VERSION and schedule.successor in api_versions.VERSIONS:
        expected = _json(api_versions.render(schedule.successor, answer))
    whole = len(orjson.dumps([sent, answered, expected])) <= LARGEST_WHOLE_BYTES
    if not whole:
        sent, answered, expected = redact(sent), redact(answered), None
    return _Sample(
        tenant_id=tenant_id,
        kind=kind,
        subject=subject,
        api_version=api_version,
        model=model,
        key_uid=key_uid,
        client=client[:_CLIENT_CHARS],
        body=sent,
        answer=answered,
        expected=expected,
        whole=whole,
        called_at=now,
    )


def _json(body: Mapping[str, Any]) -> Any:
    """The body as the customer reads it: an embedding becomes a list of numbers."""
    return orjson.loads(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))


# --- From memory to SQL -----------------------------------------------------------------------------------------------


def flush() -> int:
    """Write what waits, and give the number of samples kept; the rest is dropped with a metric. Raises nothing of SQL's."""
    kept = 0
    while True:
        with _lock:
            batch = [_waiting.popleft() for _ in range(min(_AT_ONCE, len(_waiting)))]
        if not batch:
            return kept
        try:
            kept += _store(batch)
        except (OperationalError, InterfaceError):
            logger.warning("%d call samples were dropped: SQL is away", len(batch), exc_info=True)
            _dropped.labels("sql").inc(len(batch))
        except DatabaseError:
            # One that cannot be stored must not take the others with it.
            kept += sum(_stored_alone(sample) for sample in batch)


def _stored_alone(sample: _Sample) -> int:
    try:
        return _store([sample])
    except DatabaseError:
        logger.warning("a call sample of %s was dropped", sample.subject, exc_info=True)
        _dropped.labels("sql").inc()
        return 0


@transaction.atomic
def _store(batch: list[_Sample]) -> int:
    # Locked, so that a tenant who opts out at this moment waits, and then redacts these as well.
    wanted = {sample.tenant_id for sample in batch}
    tenants = {row.pk: row for row in Tenant.objects.select_for_update().filter(pk__in=wanted).order_by("pk")}
    rows = []
    for sample in batch:
        tenant = tenants.get(sample.tenant_id)
        if tenant is None or _is_recent(sample):
            continue
        whole = sample.whole and tenant.keeps_calls
        rows.append(
            CallSample(
                tenant=tenant,
                kind=sample.kind,
                subject=sample.subject,
                api_version=sample.api_version,
                model=sample.model,
                key_uid=sample.key_uid,
                client=sample.client,
                body=sample.body if whole else redact(sample.body),
                answer=sample.answer if whole else redact(sample.answer),
                expected=sample.expected if whole else None,
                whole=whole,
                called_at=sample.called_at,
            )
        )
    CallSample.objects.bulk_create(rows)
    for tenant_id, kind, subject in {(row.tenant_id, row.kind, row.subject) for row in rows}:
        of_subject = CallSample.objects.filter(tenant_id=tenant_id, kind=kind, subject=subject)
        kept = list(of_subject.order_by("-called_at", "-pk").values_list("pk", flat=True)[:KEPT_A_SUBJECT])
        of_subject.exclude(pk__in=kept).delete()
    return len(rows)


def _is_recent(sample: _Sample) -> bool:
    """Whether another process kept one of this key within the minute."""
    tenant_id, kind, subject, key_uid = sample.source
    return CallSample.objects.filter(
        tenant_id=tenant_id, kind=kind, subject=subject, key_uid=key_uid, called_at__gt=sample.called_at - EVERY
    ).exists()


def _tick() -> None:
    if not _waiting:
        return
    close_old_connections()
    try:
        flush()
    finally:
        connection.close()


def forget() -> None:
    """Drop what waits in this process; for tests."""
    with _lock:
        _waiting.clear()
        _last.clear()
    _ticker.stop()


_ticker: Final = Ticker("call-samples", 1.0, _tick, hands_over=True)


# --- What is kept -----------------------------------------------------------------------------------------------------


def latest(*, tenant_id: int, kind: str, subject: str) -> CallSample | None:
    """The tenant's latest sampled call of the subject."""
    return _of(tenant_id, kind, subject).first()


def replayable(*, tenant_id: int, kind: str, subject: str) -> list[CallSample]:
    """The samples that can be sent again because they are whole, latest first; none of a tenant that opted out."""
    return list(_of(tenant_id, kind, subject).filter(whole=True, tenant__keeps_calls=True))


def _of(tenant_id: int, kind: str, subject: str) -> QuerySet[CallSample]:
    since = clock.now() - dt.timedelta(days=KEPT_DAYS)
    found = CallSample.objects.filter(tenant_id=tenant_id, kind=kind, subject=subject, called_at__gte=since)
    return found.order_by("-called_at", "-pk")


@transaction.atomic
def opt_in(*, tenant: Tenant) -> None:
    """Keep the tenant's sampled calls whole from now on. What was sampled before stays a shape."""
    _set(tenant, keeps_calls=True)


@transaction.atomic
def opt_out(*, tenant: Tenant) -> None:
    """Keep only shapes from now on, and of what was kept whole, at once."""
    _set(tenant, keeps_calls=False)
    _redact_rows(tenant_id=tenant.pk)


def _set(tenant: Tenant, *, keeps_calls: bool) -> None:
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    if row.keeps_calls != keeps_calls:
        row.keeps_calls = keeps_calls
        row.save(update_fields=["keeps_calls"])
    tenant.keeps_calls = keeps_calls


def _redact_rows(**which: Any) -> int:
    rows = list(CallSample.objects.filter(whole=True, **which))
    for row in rows:
        row.body, row.answer, row.expected, row.whole = redact(row.body), redact(row.answer), None, False
    CallSample.objects.bulk_update(rows, ["body", "answer", "expected", "whole"], batch_size=100)
    return len(rows)


@transaction.atomic
def purge() -> int:
    """Delete what is older than 30 days, and redact what staff made a tenant opt out of; gives the number of deleted ones."""
    _redact_rows(tenant__keeps_calls=False)
    old = CallSample.objects.filter(called_at__lt=clock.now() - dt.timedelta(days=KEPT_DAYS))
    return old.delete()[0]
