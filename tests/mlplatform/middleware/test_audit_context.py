"""Who changed what, from what to what, when and from where: of people's pages, and of services without a sign-in."""

import datetime as dt
from collections.abc import Callable

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from billing.models import LimitRule, Price
from inference.registry import versions
from mlplatform.middleware.audit_context import AuditContextMiddleware
from tenants import api_keys, tenancy
from tenants.models import ApiKey, ApiKeySecret, Tenant, User
from tests.conftest import Customer, make_customer
from tests.support.tiny_model import make_version


def visit(path: str, work: Callable[[], object], *, user: object) -> None:
    """A page on which a row is changed, from 203.0.113.9."""

    def page(request: HttpRequest) -> HttpResponse:
        work()
        return HttpResponse()

    request = RequestFactory().post(path, REMOTE_ADDR="203.0.113.9")
    request.user = user  # type: ignore[assignment]
    AuditContextMiddleware(page)(request)


def entries(row: object) -> list[LogEntry]:
    return list(LogEntry.objects.get_for_object(row).order_by("pk"))


def last(row: object) -> LogEntry:
    return entries(row)[-1]


def test_a_persons_change_names_who_what_before_after_when_and_from_where(acme: Customer) -> None:
    staff = User.objects.create_user("staff@example.com", is_staff=True)
    before = dt.datetime.now(dt.UTC)
    visit("/admin/tenants/tenant/1/suspend/", lambda: tenancy.suspend(tenant=acme.tenant), user=staff)
    entry = last(acme.tenant)
    assert entry.actor == staff
    assert entry.remote_addr == "203.0.113.9"
    assert before <= entry.timestamp <= dt.datetime.now(dt.UTC)
    assert entry.changes == {"status": ["active", "suspended"]}
    assert entry.action == LogEntry.Action.UPDATE


def test_a_page_without_a_sign_in_names_the_address_alone(acme: Customer) -> None:
    visit("/portal/x", lambda: tenancy.suspend(tenant=acme.tenant), user=AnonymousUser())
    entry = last(acme.tenant)
    assert (entry.actor, entry.remote_addr) == (None, "203.0.113.9")


def test_the_context_ends_with_the_request_and_api_calls_have_none(acme: Customer) -> None:
    visit("/admin/", lambda: None, user=acme.owner)
    tenancy.suspend(tenant=acme.tenant)
    assert (last(acme.tenant).actor, last(acme.tenant).remote_addr) == (None, None)
    visit("/v2/predict", lambda: tenancy.resume(tenant=acme.tenant), user=acme.owner)
    assert (last(acme.tenant).actor, last(acme.tenant).changes) == (None, {"status": ["suspended", "active"]})


def test_every_step_of_a_keys_life_is_there_and_no_hash_is(acme: Customer) -> None:
    issued = api_keys.issue(tenant=acme.tenant, name="Audited", scopes=["predict"], created_by=acme.owner)
    made = last(issued.key)
    assert made.action == LogEntry.Action.CREATE
    assert made.changes["name"] == ["None", "Audited"]
    assert "predict" in made.changes["scopes"][1]
    rotated = api_keys.rotate(key=issued.key)
    old, new = ApiKeySecret.objects.filter(key=issued.key).order_by("pk")
    assert list(last(old).changes) == ["expires_at"]
    assert last(new).action == LogEntry.Action.CREATE
    api_keys.revoke(key=issued.key)
    revoked = last(issued.key)
    assert list(revoked.changes) == ["revoked_at"]
    assert revoked.changes["revoked_at"][0] == "None"
    texts = "".join(str(entry.changes) for entry in LogEntry.objects.all())
    for secret in (issued.secret, rotated.secret):
        assert api_keys.digest(secret) not in texts
        assert secret not in texts
    assert "sha256" not in "".join(str(entry.changes) for row in (old, new) for entry in entries(row))
    assert len(entries(issued.key)) == 2, "versions and uses are no news"


@pytest.fixture
def acme(db: None) -> Customer:
    return make_customer("acme", audited=True)


@pytest.mark.usefixtures("prices")
def test_plans_limits_prices_and_models_are_audited_too(acme: Customer) -> None:
    rule = LimitRule.objects.get()
    rule.amount = 77
    rule.save()
    assert last(rule).changes == {"amount": ["1000", "77"]}
    price = Price.objects.get(model="large")
    price.delete()
    assert LogEntry.objects.filter(action=LogEntry.Action.DELETE, object_repr=str(price)).exists()
    assert entries(acme.plan)
    assert entries(acme.tenant.subscriptions.get())
    version = make_version(state="ready")
    versions.promote(version=version)
    assert last(version).changes["state"] == ["ready", "live"]
    versions.purge_cache(model=version.model)
    assert last(version.model).changes == {"cache_epoch": ["0", "1"]}


def test_a_password_is_never_in_the_log(acme: Customer) -> None:
    acme.owner.set_password("an entirely new password")
    acme.owner.full_name = "Renamed"
    acme.owner.save()
    assert list(last(acme.owner).changes) == ["full_name"]
    assert {ApiKey, ApiKeySecret, Tenant, User} <= {
        entry.content_type.model_class() for entry in LogEntry.objects.all()
    }
