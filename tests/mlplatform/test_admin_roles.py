"""Each role sees and does just what it is for, and a refusal changes nothing."""

from io import StringIO

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.test import Client

from billing.models import Price, UsageRollup
from inference.models import MLModel, ModelVersion
from mlplatform import roles
from mlplatform.admin_navigation import navigation
from mlplatform.lib import clock
from tenants.models import ApiKey, Tenant, TenantStatus, User
from tests.conftest import Customer
from tests.support import staff

LISTS = {
    "tenants": "/admin/tenants/tenant/",
    "people": "/admin/tenants/user/",
    "keys": "/admin/tenants/apikey/",
    "documents": "/admin/tenants/trusteddocument/",
    "plans": "/admin/billing/plan/",
    "limits": "/admin/billing/limitrule/",
    "subscriptions": "/admin/billing/subscription/",
    "prices": "/admin/billing/price/",
    "end users": "/admin/inference/enduser/",
    "items": "/admin/inference/item/",
    "models": "/admin/inference/mlmodel/",
    "versions": "/admin/inference/modelversion/",
    "workers": "/admin/inference/mlmodel/workers/",
    "API versions": "/admin/tenants/apiversion/",
    "ends": "/admin/tenants/deprecationschedule/",
    "timeline": "/admin/tenants/deprecationschedule/timeline/",
    "days": "/admin/billing/usagerollup/",
    "records": "/admin/billing/usagerecord/",
    "a call": "/admin/billing/usagerecord/find/",
    "roles": "/admin/auth/group/",
    "audit": "/admin/auditlog/logentry/",
}
READ = {
    "tenants", "keys", "documents", "plans", "limits", "subscriptions", "prices", "models", "versions", "workers", "API versions",
    "ends", "timeline", "days", "records", "a call",
}  # fmt: skip
SEES = {
    "support": READ | {"people", "audit", "end users", "items"},
    "models": READ,
    "billing": READ | {"audit"},
    "": set(),
}
ADDS = {
    "support": {"tenants", "people", "keys", "documents"},
    "models": {"models", "versions", "ends"},  # API versions, too, while one has a file and no row
    "billing": {"plans", "limits", "subscriptions", "prices"},
    "": set(),
}


@pytest.mark.parametrize("role", list(SEES))
def test_a_role_sees_just_its_pages(db: None, role: str) -> None:
    client = staff.signed_in(staff.with_role(role))
    seen = {name for name, page in LISTS.items() if client.get(page).status_code == 200}
    assert seen == SEES[role]


@pytest.mark.parametrize("role", list(ADDS))
def test_a_role_adds_just_what_it_is_for(db: None, role: str) -> None:
    client = staff.signed_in(staff.with_role(role))
    added = {name for name, page in LISTS.items() if client.get(f"{page}add/").status_code == 200}
    assert added == ADDS[role]


def test_support_cannot_change_a_price(prices: None) -> None:
    support = staff.signed_in(staff.with_role("support"))
    price = Price.objects.get(model="large")
    form = {"operation": "predict", "model": "large", "per_call": "0", "per_input": "0", "cached_per_input": "0"}
    assert support.get(f"/admin/billing/price/{price.pk}/change/").status_code == 200
    assert support.post(f"/admin/billing/price/{price.pk}/change/", form).status_code == 403
    assert support.post("/admin/billing/price/add/", form | {"model": "free"}).status_code == 403
    assert support.post(f"/admin/billing/price/{price.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Price.objects.count() == 3
    assert Price.objects.get(pk=price.pk).per_input == 10


def test_support_suspends_tenants_and_issues_keys(acme: Customer) -> None:
    support = staff.signed_in(staff.with_role("support"))
    form = {"tenant": acme.tenant.pk, "name": "Help", "mode": "live", "scopes": ["predict"]}
    assert support.post("/admin/tenants/apikey/add/", form).status_code == 303
    assert ApiKey.objects.filter(name="Help").exists()
    support.post(f"/admin/tenants/tenant/{acme.tenant.pk}/suspend/", {"confirmed": "yes"})
    assert Tenant.objects.get().status == TenantStatus.SUSPENDED


@pytest.mark.parametrize("role", ["models", "billing", ""])
def test_other_roles_touch_neither_tenants_nor_keys(acme: Customer, role: str) -> None:
    client = staff.signed_in(staff.with_role(role))
    tenant, key = f"/admin/tenants/tenant/{acme.tenant.pk}/", f"/admin/tenants/apikey/{acme.key.pk}/"
    for page in (f"{tenant}suspend/", f"{tenant}resume/", f"{key}rotate/", f"{key}revoke/"):
        assert client.post(page, {"confirmed": "yes", "overlap": "0"}).status_code == 403, page
    bulk = {"action": "suspend_selected", "_selected_action": [acme.tenant.pk], "confirmed": "yes"}
    client.post("/admin/tenants/tenant/", bulk)
    assert Tenant.objects.get().status == TenantStatus.ACTIVE
    assert ApiKey.objects.get().revoked_at is None
    assert acme.key.secrets.count() == 1


@pytest.mark.parametrize("role", ["support", "billing", ""])
def test_only_the_role_for_models_promotes_and_purges(db: None, role: str) -> None:
    model = MLModel.objects.create(name="digits")
    version = ModelVersion.objects.create(
        model=model, version="1.0.0", sha256="0" * 64, input_schema={}, output_schema={}, state="ready"
    )
    pages = [f"/admin/inference/modelversion/{version.pk}/{name}/" for name in ("promote", "retire", "verify")]
    pages.append(f"/admin/inference/mlmodel/{model.pk}/purge_cache/")
    client = staff.signed_in(staff.with_role(role))
    for page in pages:
        assert client.post(page, {"confirmed": "yes"}).status_code == 403, page
    assert ModelVersion.objects.get().state == "ready"
    assert MLModel.objects.get().cache_epoch == 0
    staff.signed_in(staff.with_role("models")).post(pages[0], {"confirmed": "yes"})
    assert ModelVersion.objects.get().state == "live"


@pytest.mark.parametrize("role", list(roles.ROLES))
def test_no_role_reaches_roles_or_facts(acme: Customer, role: str) -> None:
    client = staff.signed_in(staff.with_role(role))
    group = Group.objects.get(name=role)
    row = UsageRollup.objects.create(day=clock.now().date(), tenant=acme.tenant, key_uid=acme.key.uid, units=5)
    every = [str(pk) for pk in Permission.objects.values_list("pk", flat=True)]
    assert client.post(f"/admin/auth/group/{group.pk}/change/", {"name": role, "permissions": every}).status_code == 403
    assert client.post(f"/admin/billing/usagerollup/{row.pk}/change/", {"units": "0"}).status_code == 403
    assert group.permissions.count() == len(roles.ROLES[role])
    assert UsageRollup.objects.get().units == 5


@pytest.mark.parametrize("role", list(SEES))
def test_the_sidebar_offers_what_the_role_may_open(db: None, role: str) -> None:
    client = staff.signed_in(staff.with_role(role))
    request = client.get("/admin/").wsgi_request
    offered = [item for group in navigation(request) for item in group["items"] if item["permission"](request)]
    for item in offered:
        assert client.get(item["link"]).status_code == 200, item["title"]
    # The start page and the traffic are for all staff.
    assert len(offered) == 2 + len(SEES[role]) + (1 if "people" in SEES[role] else 0)  # people and staff share a page


def test_syncing_twice_changes_nothing_and_mends_what_was_changed(db: None) -> None:
    first = roles.sync()
    support = Group.objects.get(name="support")
    support.permissions.add(Permission.objects.get(codename="change_price"))
    Group.objects.create(name="Our own")
    assert roles.sync() == first
    assert not support.permissions.filter(codename="change_price").exists()
    assert set(Group.objects.values_list("name", flat=True)) == {*roles.ROLES, "Our own"}


def test_the_command_says_what_it_did(db: None) -> None:
    out = StringIO()
    call_command("sync_roles", stdout=out)
    assert out.getvalue().splitlines()[0] == f"support: {len(roles.ROLES['support'])} permissions"


def test_members_of_tenants_are_no_staff(acme: Customer) -> None:
    client = Client()
    client.force_login(User.objects.get(pk=acme.owner.pk))
    for page in LISTS.values():
        assert client.get(page).status_code == 302
