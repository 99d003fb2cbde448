"""The sidebar of the admin, by what staff do. An entry is shown to those who may see its page."""

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse

from mlplatform import traffic_page

_PAGES: Final = (
    "/admin/tenants/deprecationschedule/timeline/",
    "/admin/inference/mlmodel/workers/",
    "/admin/billing/usagerecord/find/",
)
"""Pages with an entry of their own, below the address of a list."""


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Groups of entries for unfold, which hides groups without entries."""
    return [
        _group("", [_entry(request, "Overview", "space_dashboard", "", "")]),
        _group(
            "Customers",
            [
                _entry(request, "Tenants", "domain", "tenants", "tenant"),
                _entry(request, "People", "group", "tenants", "user", "is_staff__exact=0"),
                _entry(request, "API keys", "key", "tenants", "apikey"),
                _entry(request, "End users", "diversity_3", "inference", "enduser"),
                _entry(request, "Items", "interests", "inference", "item"),
                _entry(request, "Trusted documents", "verified", "tenants", "trusteddocument"),
            ],
        ),
        _group(
            "Contracts",
            [
                _entry(request, "Plans", "sell", "billing", "plan"),
                _entry(request, "Limits", "speed", "billing", "limitrule"),
                _entry(request, "Subscriptions", "event_repeat", "billing", "subscription"),
                _entry(request, "Prices", "payments", "billing", "price"),
            ],
        ),
        _group(
            "Models",
            [
                _entry(request, "Models", "neurology", "inference", "mlmodel"),
                _entry(request, "Versions", "conversion_path", "inference", "modelversion"),
                _page(request, "Workers", "memory", "inference_mlmodel_workers"),
            ],
        ),
        _group(
            "Lifecycle",
            [
                _page(request, "Timeline", "view_timeline", "tenants_deprecationschedule_timeline"),
                _entry(request, "API versions", "api", "tenants", "apiversion"),
                _entry(request, "Ends of versions", "event_busy", "tenants", "deprecationschedule"),
            ],
        ),
        _group(
            "Usage",
            [
                _roof_page(request, traffic_page.TITLE, "swap_vert", traffic_page.address()),
                _entry(request, "Daily usage", "bar_chart", "billing", "usagerollup"),
                _entry(request, "Usage records", "receipt_long", "billing", "usagerecord"),
                _page(request, "Find a call", "search", "billing_usagerecord_find"),
            ],
        ),
        _group(
            "Administration",
            [
                _entry(request, "Staff", "badge", "tenants", "user", "is_staff__exact=1"),
                _entry(request, "Roles", "shield_person", "auth", "group"),
                _entry(request, "Audit log", "history", "auditlog", "logentry"),
            ],
        ),
    ]


def _group(title: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "separator": False, "items": items}


def _entry(request: HttpRequest, title: str, icon: str, app: str, model: str, query: str = "") -> dict[str, Any]:
    address = reverse(f"admin:{app}_{model}_changelist") if model else reverse("admin:index")
    return {
        "title": title,
        "icon": icon,
        "link": f"{address}?{query}" if query else address,
        "active": _is_open(request, address, query, exact=not model),
        "permission": _may_see(app, model),
    }


def _page(request: HttpRequest, title: str, icon: str, view: str) -> dict[str, Any]:
    """A page of a model's admin that is no list; it is shown to those who may see the model."""
    app, model, _ = view.split("_")
    address = reverse(f"admin:{view}")
    return {
        "title": title,
        "icon": icon,
        "link": address,
        "active": lambda _: request.path.startswith(address),
        "permission": _may_see(app, model),
    }


def _roof_page(request: HttpRequest, title: str, icon: str, address: str) -> dict[str, Any]:
    """A page of no model, for all staff."""
    return {
        "title": title,
        "icon": icon,
        "link": address,
        "active": lambda _: request.path == address,
        "permission": lambda _: True,
    }


def _is_open(request: HttpRequest, address: str, query: str, *, exact: bool) -> Callable[[HttpRequest], bool]:
    def decide(_: HttpRequest) -> bool:
        if exact:
            return request.path == address
        if not request.path.startswith(address) or request.path.startswith(_PAGES):
            return False
        # People and staff share a page and differ by its filter; what is not filtered counts as people.
        staff = request.GET.get("is_staff__exact") == "1"
        return not query or (query == "is_staff__exact=1") == staff

    return decide


def _may_see(app: str, model: str) -> Callable[[HttpRequest], bool]:
    def decide(request: HttpRequest) -> bool:
        if not model:
            return True
        user = request.user
        return user.has_perm(f"{app}.view_{model}") or user.has_perm(f"{app}.change_{model}")

    return decide
