"""Which pages are measured: every list, form and change page that the admin has, and the pages that are none of these.

What is registered tomorrow is measured tomorrow. Rows that are opened are the heaviest of their kind.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.contrib import admin
from django.db.models import Model
from django.test import RequestFactory
from django.urls import NoReverseMatch, reverse

_THIRD_PAGE: Final = 100
"""Lists have 50 rows a page."""


@dataclass(frozen=True, slots=True)
class Page:
    """An address of the admin, and what it is called in the table. A ``file`` is a download: no page with a size to keep."""

    name: str
    address: str
    file: bool = False


def pages(user: Any) -> list[Page]:
    """All of them, in the order of their names."""
    found = [Page("start page", reverse("admin:index")), *_registered(user), *_own()]
    return sorted(found, key=lambda page: page.name)


def _registered(user: Any) -> Iterator[Page]:
    request = RequestFactory().get("/admin/")
    request.user = user
    for model, shown in admin.site._registry.items():
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        title = str(model._meta.verbose_name)
        if shown.has_view_permission(request):
            address = reverse(f"admin:{name}_changelist")
            yield Page(f"{title}: list", address)
            if model._default_manager.order_by("pk")[_THIRD_PAGE : _THIRD_PAGE + 1]:
                yield Page(f"{title}: list, page 3", f"{address}?p=3")
            if shown.search_fields:
                yield Page(f"{title}: list, search", f"{address}?q=customer-007")
            row = _heaviest(model)
            if row is not None:
                yield Page(f"{title}: one", reverse(f"admin:{name}_change", args=[row]))
        if shown.has_add_permission(request):
            yield Page(f"{title}: add", reverse(f"admin:{name}_add"))


def _heaviest(model: type[Model]) -> Any:
    """The key of the first row: the busiest tenant, its first key, v1's schedule, the first model."""
    return model._default_manager.order_by("pk").values_list("pk", flat=True).first()


def _own() -> Iterator[Page]:
    from billing.models import UsageRecord
    from inference.models import MLModel
    from tenants.models import DeprecationSchedule, Tenant

    tenant = Tenant.objects.earliest("pk").pk
    model = MLModel.objects.earliest("pk").pk
    v1 = DeprecationSchedule.objects.earliest("pk").pk
    other = DeprecationSchedule.objects.latest("pk").pk
    schedule = "tenants_deprecationschedule"
    yield Page("tenant: edit", reverse("admin:tenants_tenant_edit", args=[tenant]))
    yield Page("tenant: history", f"{reverse('admin:auditlog_logentry_changelist')}?about=tenants.tenant:{tenant}")
    call = UsageRecord.objects.latest("occurred_at").request_id
    yield Page("find a call", f"{reverse('admin:billing_usagerecord_find')}?request_id={call}")
    yield Page("find a call: none", f"{reverse('admin:billing_usagerecord_find')}?request_id=nothing")
    yield Page("timeline", reverse(f"admin:{schedule}_timeline"))
    yield Page("workers", reverse("admin:inference_mlmodel_workers"))
    yield Page("rollouts of a model", reverse("admin:inference_mlmodel_rollouts", args=[model]))
    yield Page("push a package", reverse("admin:inference_modelversion_upload"))
    impact = reverse(f"admin:{schedule}_impact", args=[v1])
    yield Page("impact of v1", impact)
    yield Page("impact of v1, page 3", f"{impact}?page=3")
    yield Page("impact of a model version", reverse(f"admin:{schedule}_impact", args=[other]))
    yield Page("impact of v1: CSV", reverse(f"admin:{schedule}_impact_csv", args=[v1]), file=True)
    yield Page("message to all that call v1", reverse(f"admin:{schedule}_message", args=[v1]) + "?all=1")
    yield Page("plan a brownout", reverse(f"admin:{schedule}_brownout", args=[v1]))
    yield Page("grant an extension", reverse(f"admin:{schedule}_extension", args=[v1, tenant]))
    yield Page("a tenant's rehearsal", reverse(f"admin:{schedule}_rehearsal", args=[v1, tenant]))
    yield from _filtered(tenant)


def _filtered(tenant: int) -> Iterator[Page]:
    """Long lists as staff narrow them."""
    lists = (
        ("items of a tenant", "inference_item", f"tenant__id__exact={tenant}"),
        ("end users of a tenant", "inference_enduser", f"tenant__id__exact={tenant}"),
        ("items by title", "inference_item", "o=1"),
        ("models by calls", "inference_mlmodel", "o=-5"),
        ("audit log of a tenant", "auditlog_logentry", f"object_pk={tenant}"),
        ("audit log of one day", "auditlog_logentry", "timestamp_from_0=2026-06-01&timestamp_to_0=2026-06-02"),
        ("daily usage of a tenant", "billing_usagerollup", f"tenant__id__exact={tenant}"),
        ("daily usage of a model", "billing_usagerollup", "q=model-01"),
        ("usage records of a tenant", "billing_usagerecord", f"tenant__id__exact={tenant}"),
        ("usage records of a request", "billing_usagerecord", "q=req-1-0"),
    )
    for name, view, query in lists:
        try:
            yield Page(name, f"{reverse(f'admin:{view}_changelist')}?{query}")
        except NoReverseMatch:
            continue
