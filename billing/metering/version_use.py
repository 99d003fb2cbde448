"""Which tenant calls which version with what: daily sums of usage records, and the questions that impact asks of them."""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, F, Max, Q, QuerySet, Sum
from django.db.models.functions import Greatest

from billing.models import UsageRecord, VersionUse
from mlplatform.lib import clock

LOOKED_BACK_DAYS = 30


@dataclass(frozen=True, slots=True)
class Use:
    """How much one subject is used: tenants and calls."""

    tenants: int
    calls: int


def add(records: Sequence[UsageRecord]) -> None:
    """Add new records to their days; in the transaction that stores them."""
    sums: dict[tuple[Any, ...], tuple[int, int, int, dt.datetime]] = {}
    for record in records:
        if not record.api_version and not record.model:
            continue
        key = (
            record.occurred_at.date(), record.tenant_id, record.key_uid, record.api_version, record.model,
            record.model_version, record.client,
        )  # fmt: skip
        calls, of_version, units, last = sums.get(key, (0, 0, 0, record.occurred_at))
        last = max(last, record.occurred_at)
        sums[key] = (calls + record.requests, of_version + record.version_requests, units + record.units, last)
    # In one order everywhere, so that two drainers wait for each other instead of locking each other out.
    for key in sorted(sums):
        day, tenant_id, key_uid, api_version, model, model_version, client = key
        calls, of_version, units, last = sums[key]
        subject = {
            "day": day,
            "tenant_id": tenant_id,
            "key_uid": key_uid,
            "api_version": api_version,
            "model": model,
            "model_version": model_version,
            "client": client,
        }
        line = VersionUse.objects.filter(**subject)
        # Most lines are there. One that is not, or was deleted by a rebuild meanwhile, is made and added to again.
        while not line.update(
            calls=F("calls") + calls,
            version_calls=F("version_calls") + of_version,
            units=F("units") + units,
            last_call_at=Greatest(F("last_call_at"), last),
        ):
            VersionUse.objects.get_or_create(**subject, defaults={"last_call_at": last})


def rebuild_day(day: dt.date) -> int:
    """Compute a day's sums from its records anew; in the caller's transaction. Gives the number of lines."""
    VersionUse.objects.filter(day=day).delete()
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    found: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0, 0, 0, start])
    rows = (
        UsageRecord.objects.filter(occurred_at__gte=start, occurred_at__lt=start + dt.timedelta(days=1))
        .exclude(api_version="", model="")
        .values_list("tenant_id", "key_uid", "api_version", "model", "model_version", "client")
        .annotate(
            calls=Sum("requests"), of_version=Sum("version_requests"), total=Sum("units"), last=Max("occurred_at")
        )
        .order_by()
    )
    for *subject, calls, of_version, units, last in rows:
        found[tuple(subject)] = [calls, of_version, units, last]
    lines = [
        VersionUse(
            day=day, tenant_id=tenant_id, key_uid=key_uid, api_version=api_version, model=model,
            model_version=model_version, client=client, calls=calls, version_calls=of_version, units=units,
            last_call_at=last,
        )
        for (tenant_id, key_uid, api_version, model, model_version, client), (calls, of_version, units, last) in found.items()
    ]  # fmt: skip
    return len(VersionUse.objects.bulk_create(lines))


def of_subject(kind: str, subject: str, *, days: int = LOOKED_BACK_DAYS) -> QuerySet[Any]:
    """The sums of one subject (``api_version v1`` or ``model_version sentiment@1.0.0``) over the last days, today included.

    ``subject_calls`` of a row are the calls of the subject that it counts; 0 where a call's other row counts it.
    """
    first = clock.now().date() - dt.timedelta(days=days - 1)
    if kind == "api_version":
        return VersionUse.objects.filter(day__gte=first, api_version=subject).annotate(subject_calls=F("calls"))
    model, _, version = subject.partition("@")
    rows = VersionUse.objects.filter(day__gte=first, model=model, model_version=version)
    return rows.annotate(subject_calls=F("version_calls"))


def use_of(kind: str, subject: str, *, days: int = LOOKED_BACK_DAYS) -> Use:
    """How many tenants still use the subject, and how often they called it."""
    found = of_subject(kind, subject, days=days).aggregate(
        tenants=Count("tenant", distinct=True, filter=Q(subject_calls__gt=0)), total=Sum("subject_calls", default=0)
    )
    return Use(found["tenants"], found["total"])


def tenants_using(kind: str, subject: str, *, days: int = LOOKED_BACK_DAYS) -> set[int]:
    """Ids of the tenants that called the subject."""
    rows = of_subject(kind, subject, days=days).filter(subject_calls__gt=0)
    return set(rows.order_by().values_list("tenant_id", flat=True).distinct())


def tenants_using_model(model: str, *, days: int = LOOKED_BACK_DAYS) -> set[int]:
    """Ids of the tenants that called any version of the model."""
    first = clock.now().date() - dt.timedelta(days=days - 1)
    rows = VersionUse.objects.filter(day__gte=first, model=model, version_calls__gt=0)
    return set(rows.order_by().values_list("tenant_id", flat=True).distinct())
