"""Whom a deprecation schedule hurts: who still calls its subject, how often, with what, and what was done about it."""

import csv as csv_writer
import datetime as dt
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Count, F, Max, Q, QuerySet, Sum

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

    ``told_others`` is how many other tenants got a notice.
    """

    schedule: DeprecationSchedule
    days: tuple[dt.date, ...]
    rows: tuple[Row, ...]
    told_others: int

    @property
    def callers(self) -> tuple[Row, ...]:
        """The tenants that still call."""
        return tuple(row for row in self.rows if row.calls)

    @property
    def calls(self) -> int:
        return sum(row.calls for row in self.rows)

    @property
    def units(self) -> int:
        return sum(row.units for row in self.rows)

    @property
    def trend(self) -> tuple[int, ...]:
        """The calls of all tenants on each day."""
        return tuple(map(sum, zip(*(row.trend for row in self.rows), strict=True))) or (0,) * len(self.days)

    @property
    def change(self) -> int | None:
        """The same of all tenants together."""
        return week_change(self.trend)

    def count(self, verdict: str) -> int:
        """How many callers have this rehearsal verdict; empty for those that never rehearsed."""
        return sum(1 for row in self.callers if row.verdict == verdict)


def week_change(trend: Sequence[int]) -> int | None:
    """The last seven days against the seven before, in percent; None where there was nothing before."""
    before, after = sum(trend[-14:-7]), sum(trend[-7:])
    return round(100 * (after - before) / before) if before else None


def impact(*, schedule: DeprecationSchedule) -> Impact:
    """Read it all in a number of queries that does not depend on how many tenants, keys or clients there are."""
    rows_of_subject = version_use.of_subject(schedule.kind, schedule.subject).order_by()
    used = rows_of_subject.filter(subject_calls__gt=0)
    today = clock.now().date()
    days = tuple(today - dt.timedelta(days=back) for back in range(LOOKED_BACK_DAYS - 1, -1, -1))
    sums = {
        tenant: (calls, units, last)
        for tenant, calls, units, last in rows_of_subject.values_list("tenant").annotate(
            n=Sum("subject_calls"), total=Sum("units"), last=Max("last_call_at")
        )
        if calls
    }
    trends, keys, clients = _trends(used, days), _keys(used), _clients(used)
    extensions = {row.tenant_id: row for row in schedule.extensions.select_related("approved_by")}
    told = notices.told(schedule_id=schedule.pk)
    verdicts = rehearsal_jobs.verdicts(schedule_id=schedule.pk)
    tenants = Tenant.objects.filter(Q(pk__in=used.values("tenant")) | Q(extensions__schedule=schedule)).distinct()
    rows = []
    for tenant in tenants:
        calls, units, last = sums.get(tenant.pk, (0, 0, None))
        rows.append(
            Row(
                tenant=tenant,
                calls=calls,
                units=units,
                keys=tuple(keys[tenant.pk]),
                clients=tuple(clients[tenant.pk]),
                trend=trends.get(tenant.pk, (0,) * len(days)),
                last_call_at=last,
                notices=tuple(sorted(told.get(tenant.pk, ()), key=lambda one: one.created_at, reverse=True)),
                extension=extensions.get(tenant.pk),
                verdict=verdicts.get(tenant.pk, ""),
            )
        )
    rows.sort(key=lambda row: (-row.calls, row.tenant.name))
    others = set(told) - {row.tenant.pk for row in rows}
    return Impact(schedule, days, tuple(rows), len(others))


def _trends(used: QuerySet[Any], days: Sequence[dt.date]) -> Mapping[int, tuple[int, ...]]:
    by_day: dict[int, dict[dt.date, int]] = defaultdict(dict)
    for tenant, day, calls in used.values_list("tenant", "day").annotate(n=Sum("subject_calls")):
        by_day[tenant][day] = calls
    return {tenant: tuple(found.get(day, 0) for day in days) for tenant, found in by_day.items()}


def _keys(used: QuerySet[Any]) -> Mapping[int, list[Part]]:
    names = dict(ApiKey.objects.filter(uid__in=used.values("key_uid")).values_list("uid", "name"))
    found: dict[int, list[Part]] = defaultdict(list)
    for tenant, uid, calls in (
        used.values_list("tenant", "key_uid").annotate(n=Sum("subject_calls")).order_by("-n", "key_uid")
    ):
        found[tenant].append(Part(names.get(uid, uid) or NO_KEY, calls, uid))
    return found


def _clients(used: QuerySet[Any]) -> Mapping[int, list[Part]]:
    found: dict[int, list[Part]] = defaultdict(list)
    for tenant, client, calls in (
        used.values_list("tenant", "client").annotate(n=Sum("subject_calls")).order_by("-n", "client")
    ):
        found[tenant].append(Part(client or NO_CLIENT, calls))
    return found


def use_of_all() -> Mapping[tuple[str, str], Use]:
    """The use of every API version and model version in the last 30 days, by kind and subject; two queries."""
    first = clock.now().date() - dt.timedelta(days=LOOKED_BACK_DAYS - 1)
    used = VersionUse.objects.filter(day__gte=first).order_by()
    tenants_n = Count("tenant", distinct=True)
    found: dict[tuple[str, str], Use] = {}
    of_api = used.filter(calls__gt=0).exclude(api_version="").values_list("api_version")
    for name, tenants, total in of_api.annotate(tenants=tenants_n, total=Sum("calls")):
        found[SubjectKind.API_VERSION.value, name] = Use(tenants, total)
    of_model = used.filter(version_calls__gt=0).exclude(model="").values_list("model", "model_version")
    for model, version, tenants, total in of_model.annotate(tenants=tenants_n, total=Sum("version_calls")):
        found[SubjectKind.MODEL_VERSION.value, f"{model}@{version}"] = Use(tenants, total)
    return found


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
