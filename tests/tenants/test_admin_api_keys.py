import datetime as dt
import logging
import re

import pytest
from auditlog.models import LogEntry
from django.contrib.admin.models import LogEntry as AdminLogEntry
from django.contrib.messages.storage.base import Message
from django.contrib.sessions.models import Session
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from inference.models import MLModel
from mlplatform.lib import clock, redis
from mlplatform.lib.errors import PlatformError
from tenants import api_keys, authentication
from tenants.models import ApiKey, ApiKeySecret
from tests.conftest import Customer
from tests.support import staff
from tests.support.refusing import refuse

LIST = "/admin/tenants/apikey/"
NO_LIMITS = {"limits-TOTAL_FORMS": "0", "limits-INITIAL_FORMS": "0"}


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


def issue(admin: Client, acme: Customer, **fields: object) -> HttpResponse:
    form: dict[str, object] = {
        "tenant": acme.tenant.pk,
        "name": "Reports",
        "mode": "live",
        "scopes": ["predict", "usage:read"],
        "allowed_cidrs": "",
        "pinned_api_version": "",
        "expires_at_0": "",
        "expires_at_1": "",
    }
    return admin.post(f"{LIST}add/", form | fields)  # type: ignore[return-value]  # the test client's


def shown_secret(admin: Client, answer: HttpResponse) -> str:
    """What the page shows to which the form redirected."""
    assert answer.status_code == 303
    page = admin.get(answer["Location"])
    assert page["Cache-Control"].startswith("no-store")
    found = re.findall(r"mlp_(?:live|test)_[0-9A-Za-z]{22}_[0-9A-Za-z]{6}", page.content.decode())
    assert len(set(found)) == 1
    return str(found[0])


def test_an_issued_key_works_and_its_secret_is_shown_once(admin: Client, acme: Customer) -> None:
    answer = issue(admin, acme)
    secret = shown_secret(admin, answer)
    caller = authentication.authenticate(secret, address="127.0.0.1")
    assert (caller.key_name, caller.scopes) == ("Reports", frozenset({"predict", "usage:read"}))
    key = ApiKey.objects.get(name="Reports")
    assert key.created_by is not None
    assert key.created_by.email == "ada@staff.example"
    for page in (f"{LIST}{key.pk}/change/", LIST):
        assert secret not in admin.get(page).content.decode()


def test_the_secret_is_kept_nowhere(
    admin: Client, acme: Customer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []
    original = Message.__init__

    def note(self: Message, level: int, message: str, extra_tags: str | None = None) -> None:
        messages.append(str(message))
        original(self, level, message, extra_tags)

    monkeypatch.setattr(Message, "__init__", note)
    caplog.set_level(logging.DEBUG)
    answer = issue(admin, acme)
    waiting = [redis.state().dump(name) or b"" for name in redis.state().scan_iter()]
    secret = shown_secret(admin, answer)
    assert waiting
    assert all(secret.encode() not in dump for dump in waiting)
    kept = [
        caplog.text,
        *messages,
        *(str(cookie) for cookie in answer.cookies.values()),
        *(str(session.get_decoded()) for session in Session.objects.all()),
        *(f"{entry.changes} {entry.object_repr} {entry.serialized_data}" for entry in LogEntry.objects.all()),
        *(f"{entry.change_message} {entry.object_repr}" for entry in AdminLogEntry.objects.all()),
        *(f"{row.sha256} {row.prefix} {row.last_four}" for row in ApiKeySecret.objects.all()),
    ]
    random_part = secret.split("_")[2]
    assert all(secret not in text and random_part not in text for text in kept)
    assert all(api_keys.digest(secret) not in str(entry.changes) for entry in LogEntry.objects.all())


def test_the_form_takes_models_and_networks(admin: Client, acme: Customer) -> None:
    MLModel.objects.create(name="digits")
    issue(
        admin,
        acme,
        allowed_models=["digits"],
        allowed_cidrs="203.0.113.0/24\r\n\r\n 2001:db8::/32 ",
        pinned_api_version="v1",
    )
    key = ApiKey.objects.get(name="Reports")
    assert key.allowed_models == ["digits"]
    assert key.allowed_cidrs == ["203.0.113.0/24", "2001:db8::/32"]
    assert key.pinned_api_version == "v1"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"allowed_cidrs": "203.0.113.5/24"}, "Not a network"),
        ({"allowed_models": ["nothing"]}, "nothing is not one of the available choices"),
        ({"scopes": ["everything"]}, "everything is not one of the available choices"),
        ({"scopes": []}, "This field is required"),
        ({"name": ""}, "This field is required"),
        ({"pinned_api_version": "v9"}, "v9 is not one of the available choices"),
        ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "lies in the past"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_issued(
    admin: Client, acme: Customer, fields: dict[str, object], reason: str
) -> None:
    answer = issue(admin, acme, **fields)
    assert answer.status_code == 200
    assert reason in answer.content.decode()
    assert ApiKey.objects.count() == 1


def test_changing_a_key_tells_other_processes(admin: Client, acme: Customer) -> None:
    form = {
        "name": "Renamed",
        "scopes": ["predict"],
        "allowed_cidrs": "203.0.113.0/24",
        "pinned_api_version": "",
        **NO_LIMITS,
    }
    answer = admin.post(f"{LIST}{acme.key.pk}/change/", {**form, "expires_at_0": "", "expires_at_1": ""})
    assert answer.status_code == 302
    key = ApiKey.objects.get(pk=acme.key.pk)
    assert (key.name, key.scopes, key.allowed_cidrs) == ("Renamed", ["predict"], ["203.0.113.0/24"])
    assert key.tenant_id == acme.tenant.pk
    assert key.version > acme.key.version


def test_rotation_shows_a_new_secret_and_the_old_one_works_for_the_overlap(admin: Client, acme: Customer) -> None:
    page = f"{LIST}{acme.key.pk}/rotate/"
    assert admin.get(page).status_code == 200
    assert acme.key.secrets.count() == 1
    secret = shown_secret(admin, admin.post(page, {"overlap": "24"}))  # type: ignore[arg-type]  # the test client's
    assert secret != acme.secret
    for either in (secret, acme.secret):
        assert authentication.authenticate(either, address="127.0.0.1", fresh=True).key_uid == acme.key.uid
    old = ApiKeySecret.objects.get(sha256=api_keys.digest(acme.secret))
    assert old.expires_at is not None
    assert dt.timedelta(hours=23) < old.expires_at - clock.now() <= dt.timedelta(hours=24)


def test_rotation_without_overlap_stops_the_old_secret_at_once(admin: Client, acme: Customer) -> None:
    admin.post(f"{LIST}{acme.key.pk}/rotate/", {"overlap": "0"})
    with pytest.raises(PlatformError, match="expired"):
        authentication.authenticate(acme.secret, address="127.0.0.1", fresh=True)


def test_an_overlap_that_is_not_offered_changes_nothing(admin: Client, acme: Customer) -> None:
    assert admin.post(f"{LIST}{acme.key.pk}/rotate/", {"overlap": "9999"}).status_code == 200
    assert acme.key.secrets.count() == 1


def test_revoking_asks_first_and_is_for_good(admin: Client, acme: Customer) -> None:
    page = f"{LIST}{acme.key.pk}/revoke/"
    assert "for good?" in admin.get(page).content.decode()
    admin.post(page)
    assert ApiKey.objects.get().revoked_at is None
    admin.post(page, {"confirmed": "yes"})
    with pytest.raises(PlatformError, match="revoked"):
        authentication.authenticate(acme.secret, address="127.0.0.1", fresh=True)
    answer = admin.post(f"{LIST}{acme.key.pk}/rotate/", {"overlap": "0"}, follow=True)
    assert answer.status_code in {200, 403}
    assert acme.key.secrets.count() == 1
    assert admin.post(f"{LIST}{acme.key.pk}/change/", {"name": "Back"}).status_code == 403


def test_a_revoked_key_is_told_in_words(admin: Client, acme: Customer) -> None:
    ApiKey.objects.filter(pk=acme.key.pk).update(scopes=["predict"], allowed_cidrs=["203.0.113.0/24"])
    api_keys.revoke(key=acme.key)
    page = admin.get(f"{LIST}{acme.key.pk}/change/").content.decode()
    for told in ("Allowed networks", "203.0.113.0/24", "every model", "platform&#x27;s default"):
        assert told in page, told
    for raw in ("allowed cidrs", "Allowed cidrs", "[&#x27;"):
        assert raw not in page, raw


def test_the_page_of_a_key_tells_its_limits_and_what_they_refused(admin: Client, acme: Customer) -> None:
    other = api_keys.issue(tenant=acme.tenant, name="Nightly")
    refuse(acme, "req-42")
    page = admin.get(f"{LIST}{acme.key.pk}/change/").content.decode()
    assert "1,000 units, refilled 100 a second" in page
    assert "/admin/billing/usagerecord/find/?request_id=req-42" in page
    assert "req-42" not in admin.get(f"{LIST}{other.key.pk}/change/").content.decode()


def test_a_key_cannot_be_deleted(admin: Client, acme: Customer) -> None:
    assert admin.post(f"{LIST}{acme.key.pk}/delete/", {"post": "yes"}).status_code == 403
    assert ApiKey.objects.filter(pk=acme.key.pk).exists()


@pytest.mark.parametrize(
    ("state", "badge"), [("active", "Active"), ("soon", "Expires"), ("expired", "Expired"), ("revoked", "Revoked")]
)
def test_the_state_is_shown_and_filtered(admin: Client, acme: Customer, state: str, badge: str) -> None:
    now = clock.now()
    ends = {"Soon": now + dt.timedelta(days=3), "Late": now - dt.timedelta(days=1), "Gone": None}
    for name, moment in ends.items():
        key = api_keys.issue(tenant=acme.tenant, name=name).key
        ApiKey.objects.filter(pk=key.pk).update(expires_at=moment, revoked_at=now if name == "Gone" else None)
    answer = admin.get(LIST, {"state": state})
    names = {key.name for key in answer.context["cl"].result_list}
    expected = {"active": {"Production", "Soon"}, "soon": {"Soon"}, "expired": {"Late"}, "revoked": {"Gone"}}
    assert names == expected[state]
    assert badge in answer.content.decode()


def test_the_list_costs_the_same_queries_with_one_row_and_with_ten(admin: Client, acme: Customer) -> None:
    admin.get(LIST)  # what a process keeps in memory is read
    with CaptureQueriesContext(connection) as one:
        admin.get(LIST)
    for number in range(9):
        api_keys.issue(tenant=acme.tenant, name=f"Key {number}")
    with CaptureQueriesContext(connection) as ten:
        page = admin.get(LIST)
    assert b"Key 8" in page.content
    assert len(ten) == len(one)


def test_support_gets_no_key_that_manages_every_model(acme: Customer) -> None:
    """Its role issues keys, but an operator's key with ``models:write`` has rights that the role has not."""
    acme.tenant.operator = True
    acme.tenant.save()
    support = staff.signed_in(staff.with_role("support"))
    before = ApiKey.objects.count()
    assert issue(support, acme, scopes=["models:write"]).status_code == 403
    assert ApiKey.objects.count() == before
    assert issue(support, acme).status_code == 303
    key = ApiKey.objects.get(name="Reports")
    assert support.post(f"{LIST}{key.pk}/rotate/", {"overlap": "0"}).status_code == 303
    key.scopes = ["models:write"]
    key.save()
    assert support.post(f"{LIST}{key.pk}/rotate/", {"overlap": "0"}).status_code == 403
    assert issue(staff.signed_in(staff.superuser()), acme, name="Ours", scopes=["models:write"]).status_code == 303
