"""Whom a deprecation schedule hurts: who still calls its subject, how often, with what, and what was done about it."""

import csv as csv_writer
import datetime as dt
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.core.paginator import Paginator
from django.db.models import F, Max, QuerySet, Sum

from billing.metering import version_use
from billing.metering.version_use import LOOKED_BACK_DAYS, Use
from billing.models import VersionUse
from inference.deprecations.notices import sending as notices
from inference.deprecations.rehearsals import jobs as rehearsal_jobs
from inference.models.lifecycle import Notice
from mlplatform.lib import clock
from tenants.models import ApiKey, DeprecationSchedule, Extension, SubjectKind, Tenant

NO_KEY: Final = "no key"
NO_CLIENT: Final = "not named"


@dataclass(frozen=True, slots=True)
class Part:
    """One key or one client of a tenant, with its calls of the last 30 days."""

    name: str
    calls: int
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One tenant. ``trend`` are the calls of each of the last 30 days, today last; ``notices`` the latest first."""

    tenant: Tenant
    calls: int
    units: int
    keys: tuple[Part, ...]
    clients: tuple[Part, ...]
    trend: tuple[int, ...]
    last_call_at: dt.datetime | None
    notices: tuple[Notice, ...]
    extension: Extension | None
    verdict: str

    @property
    def change(self) -> int | None:
        """Calls of the last seven days against the seven before, in percent; None where there were none before."""
        return week_change(self.trend)


@dataclass(frozen=True, slots=True)
class Impact:
    """Tenants that called the subject in the last 30 days, most calls first, then those that only have an extension.

    ``rows`` are those that were asked for, the other figures are of all: ``tenants`` is how many rows there are,
    ``callers`` how many of them call, ``verdicts`` how many callers have each verdict, ``told_others`` how many tenants that
    are no row got a notice.
    """

    schedule: DeprecationSchedule
    days: tuple[dt.date, ...]
    rows: tuple[Row, ...]
    tenants: int
    callers: int
    calls: int
    units: int
    trend: tuple[int, ...]
    verdicts: Mapping[str, int]
    told_others: int

    @property
    def change(self) -> int | None:
        """Calls of all tenants in the last seven days against the seven before, in percent."""
        return week_change(self.trend)

    def count(self, verdict: str) -> int:
        """How many callers have this rehearsal verdict; empty for those that never rehearsed."""
        return self.verdicts.get(verdict, 0)


def week_change(trend: Sequence[int]) -> int | None:
    """The last seven days against the seven before, in percent; None where there was nothing before."""
    before, after = sum(trend[-14:-7]), sum(trend[-7:])
    return round(100 * (after - before) / before) if before else None


def impact(*, schedule: DeprecationSchedule, page: int = 1, per_page: int | None = None) -> Impact:
    """Read it in a number of queries that does not depend on how many tenants, keys or clients there are.

    The rows of a page (the last one, beyond it) are read with what they call with and were told; all without ``per_page``.
    """
    days = _days()
    used = version_use.of_subject(schedule.kind, schedule.subject).order_by()
    sums = _by_tenant(used, days)
    extended = set(schedule.extensions.values_list("tenant", flat=True))
    named = {row.pk: row for row in Tenant.objects.filter(pk__in={*sums, *extended}).order_by()}
    order = sorted(named, key=lambda pk: (-sums[pk].calls if pk in sums else 0, named[pk].name))
    shown = order if per_page is None else Paginator(order, per_page).get_page(page).object_list
    verdicts = rehearsal_jobs.verdicts(schedule_id=schedule.pk)
    told = notices.tenants_told(schedule_id=schedule.pk)
    return Impact(
        schedule=schedule,
        days=days,
        rows=_rows(schedule, used, [named[pk] for pk in shown], sums, days, verdicts),
        tenants=len(order),
        callers=len(sums),
        calls=sum(one.calls for one in sums.values()),
        units=sum(one.units for one in sums.values()),
        trend=tuple(map(sum, zip(*(one.trend for one in sums.values()), strict=True))) or (0,) * len(days),
        verdicts=Counter(verdicts.get(pk, "") for pk in sums),
        told_others=len(told - {*order}),
    )


def callers_of(*, schedule: DeprecationSchedule) -> list[int]:
    """Ids of the tenants that called the subject in the last 30 days."""
    used = version_use.of_subject(schedule.kind, schedule.subject).filter(subject_calls__gt=0)
    return list(used.order_by("tenant").values_list("tenant", flat=True).distinct())


@dataclass(frozen=True, slots=True)
class _Sums:
    calls: int
    units: int
    trend: tuple[int, ...]


def _days() -> tuple[dt.date, ...]:
    today = clock.now().date()
    return tuple(today - dt.timedelta(days=back) for back in range(LOOKED_BACK_DAYS - 1, -1, -1))


def _by_tenant(used: QuerySet[Any], days: Sequence[dt.date]) -> dict[int, _Sums]:
    """Tenants that call, with their sums; every line of the month is read once, in the database."""
    calls: dict[int, dict[dt.date, int]] = defaultdict(dict)
    units: Counter[int] = Counter()
    for tenant, day, n, total in used.values_list("tenant", "day").annotate(n=Sum("subject_calls"), total=Sum("units")):
        calls[tenant][day] = n
        units[tenant] += total
    found = {}
    for tenant, by_day in calls.items():
        trend = tuple(by_day.get(day, 0) for day in days)
        if sum(trend):
            found[tenant] = _Sums(sum(trend), units[tenant], trend)
    return found


def _rows(
    schedule: DeprecationSchedule,
    used: QuerySet[Any],
    tenants: Sequence[Tenant],
    sums: Mapping[int, _Sums],
    days: Sequence[dt.date],
    verdicts: Mapping[int, str],
) -> tuple[Row, ...]:
    ids = [tenant.pk for tenant in tenants]
    keys, clients, last = _parts_of(used.filter(tenant__in=ids))
    extensions = {
        row.tenant_id: row for row in schedule.extensions.filter(tenant__in=ids).select_related("approved_by")
    }
    told = notices.told(schedule_id=schedule.pk, tenant_ids=ids)
    none = _Sums(0, 0, (0,) * len(days))
    return tuple(
        Row(
            tenant=tenant,
            calls=own.calls,
            units=own.units,
            keys=keys.get(tenant.pk, ()),
            clients=clients.get(tenant.pk, ()),
            trend=own.trend,
            last_call_at=last.get(tenant.pk),
            notices=tuple(told.get(tenant.pk, ())),
            extension=extensions.get(tenant.pk),
            verdict=verdicts.get(tenant.pk, ""),
        )
        for tenant in tenants
        for own in [sums.get(tenant.pk, none)]
    )


_Parts = dict[int, tuple[Part, ...]]


def _parts_of(used: QuerySet[Any]) -> tuple[_Parts, _Parts, dict[int, dt.datetime]]:
    """By tenant: its keys and its clients, most calls first, and the moment of its last call."""
    by_key: dict[int, Counter[str]] = defaultdict(Counter)
    by_client: dict[int, Counter[str]] = defaultdict(Counter)
    last: dict[int, dt.datetime] = {}
    lines = used.values_list("tenant", "key_uid", "client")
    for tenant, uid, client, calls, at in lines.annotate(n=Sum("subject_calls"), last=Max("last_call_at")):
        if not calls:
            continue
        by_key[tenant][uid] += calls
        by_client[tenant][client] += calls
        last[tenant] = max(at, last.get(tenant, at))
    uids = {uid for counted in by_key.values() for uid in counted}
    names = dict(ApiKey.objects.filter(uid__in=uids).values_list("uid", "name"))
    keys = {
        tenant: tuple(Part(names.get(uid, uid) or NO_KEY, calls, uid) for uid, calls in _most_first(counted))
        for tenant, counted in by_key.items()
    }
    clients = {
        tenant: tuple(Part(client or NO_CLIENT, calls) for client, calls in _most_first(counted))
        for tenant, counted in by_client.items()
    }
    return keys, clients, last


def _most_first(counted: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counted.items(), key=lambda one: (-one[1], one[0]))


def use_of_all() -> Mapping[tuple[str, str], Use]:
    """The use of every API version and model version in the last 30 days, by kind and subject; one query.

    Tenants are counted here: for the database to count them apart for each version takes as long as to read the month again.
    """
    first = clock.now().date() - dt.timedelta(days=LOOKED_BACK_DAYS - 1)
    used = VersionUse.objects.filter(day__gte=first).order_by()
    lines = used.values_list("tenant", "api_version", "model", "model_version")
    calls: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for tenant, api_version, model, version, n, of_version in lines.annotate(n=Sum("calls"), of=Sum("version_calls")):
        if api_version and n:
            calls[SubjectKind.API_VERSION.value, api_version][tenant] += n
        if model and of_version:
            calls[SubjectKind.MODEL_VERSION.value, f"{model}@{version}"][tenant] += of_version
    return {subject: Use(len(by_tenant), by_tenant.total()) for subject, by_tenant in calls.items()}


def ending_soon(*, within: dt.timedelta) -> list[tuple[DeprecationSchedule, list[str]]]:
    """Schedules whose sunset comes within that time, with the names of tenants that still call and have no extension."""
    now = clock.now()
    rows = DeprecationSchedule.objects.filter(
        canceled_at__isnull=True, sunset_at__gt=now, sunset_at__lte=now + within
    ).order_by("sunset_at")
    found = []
    for row in rows:
        later = row.extensions.filter(until__gt=F("schedule__sunset_at")).values("tenant")
        used = version_use.of_subject(row.kind, row.subject).filter(subject_calls__gt=0).exclude(tenant__in=later)
        names = list(
            Tenant.objects.filter(pk__in=used.order_by().values("tenant"))
            .order_by("name")
            .values_list("name", flat=True)
        )
        if names:
            found.append((row, names))
    return found


_COLUMNS: Final = (
    "tenant", "tenant_name", "calls_30d", "units_30d", "last_call", "keys", "clients", "calls_last_7_days", "calls_7_days_before",
    "last_told", "told_of", "extension_until", "rehearsal", *(f"day_{n:02}" for n in range(1, LOOKED_BACK_DAYS + 1)),
)  # fmt: skip


def csv(found: Impact) -> str:
    """One line a tenant, with a column for each of the last 30 days. No cell can run as a formula of a spreadsheet."""
    buffer = io.StringIO()
    writer = csv_writer.writer(buffer)
    writer.writerow(_COLUMNS)
    for row in found.rows:
        texts = [row.tenant.slug, row.tenant.name]
        numbers = [row.calls, row.units]
        writer.writerow(
            [
                *map(harmless, texts),
                *numbers,
                _moment(row.last_call_at),
                harmless(_parts(row.keys)),
                harmless(_parts(row.clients)),
                sum(row.trend[-7:]),
                sum(row.trend[-14:-7]),
                _moment(row.notices[0].created_at if row.notices else None),
                harmless(" ".join(notice.moment for notice in row.notices)),
                _moment(row.extension.until if row.extension else None),
                row.verdict or "not_rehearsed",
                *row.trend,
            ]
        )
    return buffer.getvalue()


def harmless(text: str) -> str:
    """Spreadsheets run a cell that begins like a formula, and customers choose names of keys and clients."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def _parts(parts: Iterable[Part]) -> str:
    return "; ".join(f"{part.name} ({part.calls})" for part in parts)


def _moment(moment: dt.datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment is not None else ""
