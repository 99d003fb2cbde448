"""What is not as it should be: workers, versions, suspended tenants, keys, and ends that come near."""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final

from django.urls import reverse

from billing.models import UsageRecord
from inference.deprecations.impact import callers as impact
from inference.fleet import workers
from inference.fleet.workers import WorkerInfo
from inference.models import MLModel, ModelVersion, VersionState
from mlplatform.attention.notice import Notice, listed
from mlplatform.lib import clock, redis
from tenants.admin import formats
from tenants.admin.api_key_states import expiring
from tenants.models import ApiKey, Tenant, TenantStatus

_SOON: Final = dt.timedelta(days=30)
_VERY_SOON: Final = dt.timedelta(days=7)


def of_workers() -> Iterable[Notice]:
    try:
        alive = workers.alive()
        drained = [order.worker for order in workers.drain_orders()]
    except redis.FAILURES:
        yield Notice(
            "danger",
            "cloud_off",
            "The state Redis does not answer: calls are refused with 503 until it is back.",
        )
        return
    page = reverse("admin:inference_mlmodel_workers")
    seen = "inference.view_mlmodel"
    if not any(info.computes for info in alive):
        yield Notice("danger", "memory", "No GPU worker is alive: only cached answers are given.")
    else:
        yield from _pools_without_workers(alive, page, seen)
    if all(info.computes for info in alive):
        yield Notice(
            "warning",
            "engineering",
            "No jobs worker is alive: usage is not written to SQL, and nothing else waits for it.",
        )
    if drained:
        verb = "is" if len(drained) == 1 else "are"
        yield Notice("info", "pause_circle", f"{listed(drained)} {verb} drained by staff.", page, seen)


def _pools_without_workers(alive: Sequence[WorkerInfo], page: str, seen: str) -> Iterable[Notice]:
    rows = MLModel.objects.select_related("owner").filter(versions__state=VersionState.LIVE).order_by("name")
    accepting = [info for info in alive if info.computes and not info.draining]
    for pool in sorted({row.pool for row in rows}):
        if not any(info.serves(pool) for info in accepting):
            names = [row.qualified_name for row in rows if row.pool == pool]
            text = f"No worker takes batches of the pool {pool}: {listed(names)} can only be answered from the cache."
            yield Notice("danger", "memory", text, page, seen)


def of_versions() -> Iterable[Notice]:
    page = reverse("admin:inference_modelversion_changelist")
    seen = "inference.view_modelversion"
    rows = list(ModelVersion.objects.select_related("model__owner").exclude(state=VersionState.RETIRED))
    broken = [str(row) for row in rows if row.load_error and not row.breaches]
    greedy = [str(row) for row in rows if row.breaches]
    staged = [str(row) for row in rows if row.state == VersionState.STAGED and not row.load_error]
    if broken:
        yield Notice("danger", "error", f"{listed(broken)} could not be loaded by a worker.", page, seen)
    if greedy:
        text = f"{listed(greedy)} took more time or memory than it may; the next time a version does so it retires."
        yield Notice("warning", "gpp_maybe", text, page, seen)
    if staged:
        verb = "is" if len(staged) == 1 else "are"
        yield Notice(
            "info",
            "rocket_launch",
            f"{listed(staged)} {verb} staged and not yet verified.",
            f"{page}?state__exact=staged",
            seen,
        )


def suspended_with_calls() -> Iterable[Notice]:
    since = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    recent = UsageRecord.objects.filter(occurred_at__gte=since).order_by().values("tenant")
    names = list(Tenant.objects.filter(status=TenantStatus.SUSPENDED, pk__in=recent).values_list("name", flat=True))
    if names:
        page = f"{reverse('admin:tenants_tenant_changelist')}?status__exact=suspended"
        yield Notice("warning", "block", f"{listed(names)}: suspended, with calls today.", page, "tenants.view_tenant")


def keys_that_end() -> Iterable[Notice]:
    rows = ApiKey.objects.select_related("tenant").filter(expiring(clock.now()), tenant__status=TenantStatus.ACTIVE)
    names = [f"{key.name} of {key.tenant.name}" for key in rows]
    if names:
        page = f"{reverse('admin:tenants_apikey_changelist')}?state=soon"
        verb = "key expires" if len(names) == 1 else "keys expire"
        yield Notice(
            "warning",
            "key",
            f"{len(names)} {verb} within 14 days: {listed(names)}.",
            page,
            "tenants.view_apikey",
        )


def ends_with_callers() -> Iterable[Notice]:
    now = clock.now()
    for schedule, names in impact.ending_soon(within=_SOON):
        page = reverse("admin:tenants_deprecationschedule_impact", args=[schedule.pk])
        verb = "calls" if len(names) == 1 else "call"
        yield Notice(
            "danger" if schedule.sunset_at - now <= _VERY_SOON else "warning",
            "event_busy",
            f"{schedule.subject} ends {formats.words(schedule.sunset_at)}, and {listed(names)} still {verb} it.",
            page,
            "tenants.view_deprecationschedule",
        )
