import datetime as dt

from auditlog.context import set_extra_data
from auditlog.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tenants import api_keys
from tenants.admin.audit_log import changes
from tenants.models import ApiKey, Tenant, User
from tests.conftest import Customer
from tests.support import staff

LIST = "/admin/auditlog/logentry/"


def test_a_change_says_who_what_before_after_and_from_where(acme: Customer) -> None:
    admin = staff.signed_in(staff.superuser())
    empty = staff.no_rows("memberships", "subscriptions", "limits")
    form = {"name": "Acme Limited", "default_model": "", **empty}
    admin.post(f"/admin/tenants/tenant/{acme.tenant.pk}/change/", form, REMOTE_ADDR="203.0.113.7")
    kind = ContentType.objects.get_for_model(Tenant)
    entry = LogEntry.objects.get(content_type=kind, action=LogEntry.Action.UPDATE)
    page = admin.get(f"{LIST}{entry.pk}/change/").content.decode()
    for part in ("ada@staff.example", "203.0.113.7", ">Acme<", ">Acme Limited<"):
        assert part in page


def test_of_what_a_key_did_it_names_the_key(acme: Customer) -> None:
    with set_extra_data({"additional_data": {"api_key": "k1", "api_key_name": "Deploys", "tenant": "acme"}}):
        acme.tenant.name = "Acme Limited"
        acme.tenant.save()
    page = staff.signed_in(staff.superuser()).get(LIST).content.decode()
    assert "the key Deploys of acme" in page


def test_nothing_in_it_can_be_changed(acme: Customer) -> None:
    admin = staff.signed_in(staff.superuser())
    entry = LogEntry.objects.first()
    assert entry is not None
    before = LogEntry.objects.count()
    assert admin.post(f"{LIST}{entry.pk}/change/", {"object_repr": "x"}).status_code == 403
    assert admin.post(f"{LIST}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin.post(f"{LIST}add/", {}).status_code == 403
    assert LogEntry.objects.count() == before


def test_it_holds_no_secret_and_would_show_none(acme: Customer) -> None:
    user = User.objects.create_user("somebody@acme.example", "a password of mine")
    user.set_password("another password")
    user.save()
    api_keys.rotate(key=acme.key)
    for entry in LogEntry.objects.all():
        kept = f"{entry.changes} {entry.object_repr} {entry.serialized_data} {entry.additional_data}"
        assert acme.secret not in kept
        assert "md5$" not in kept
        assert api_keys.digest(acme.secret) not in kept
    leaky = LogEntry(changes={"password": ["a", "b"], "sha256": ["c", "d"], "name": ["e", "f"]})
    assert [row["field"] for row in changes(leaky)] == ["name"]


def test_it_is_searched_by_person_and_filtered_by_kind(acme: Customer) -> None:
    admin = staff.signed_in(staff.superuser())
    api_keys.issue(tenant=acme.tenant, name="Second")
    kind = ContentType.objects.get_for_model(ApiKey)
    found = admin.get(LIST, {"content_type__id__exact": kind.pk}).context["cl"].result_list
    assert {entry.content_type_id for entry in found} == {kind.pk}
    assert admin.get(LIST, {"q": "nobody@nowhere.example"}).context["cl"].result_count == 0


def test_it_finds_what_person_and_address(acme: Customer) -> None:
    admin = staff.signed_in(staff.superuser())
    mallory = User.objects.create_user("mallory@acme.example")
    LogEntry.objects.all().delete()
    mine, theirs = (
        LogEntry.objects.log_create(acme.tenant, action=LogEntry.Action.UPDATE, changes={}, force_log=True, **more)
        for more in ({"actor": mallory, "remote_addr": "203.0.113.7"}, {"actor_email": "gone@acme.example"})
    )
    both, key = {mine.pk, theirs.pk}, str(acme.tenant.pk)
    for term, expected in {
        "Acme": both,
        "MALLORY": {mine.pk},
        "acme gone": {theirs.pk},
        "203.0.113.7": {mine.pk},
        "203.0.113.8": set(),
        key: both,
        f"{key} Acme zz": set(),
    }.items():
        assert {entry.pk for entry in admin.get(LIST, {"q": term}).context["cl"].result_list} == expected, term
    narrowed = {"q": "Acme", "action__exact": LogEntry.Action.DELETE}
    assert admin.get(LIST, narrowed).context["cl"].result_count == 0


def test_the_list_costs_the_same_queries_with_few_rows_and_with_many(acme: Customer) -> None:
    admin = staff.signed_in(staff.superuser())
    admin.get(LIST)  # content types are looked up once a process
    with CaptureQueriesContext(connection) as few:
        admin.get(LIST)
    for number in range(10):
        api_keys.issue(tenant=acme.tenant, name=f"Key {number}")
    with CaptureQueriesContext(connection) as many:
        admin.get(LIST)
    assert len(many) == len(few)


def test_moments_before_and_after_are_written_as_on_every_page(acme: Customer) -> None:
    acme.key.expires_at = dt.datetime(2027, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    acme.key.save()
    entry = LogEntry.objects.get_for_object(acme.key).order_by("-timestamp", "-pk")[0]
    page = staff.signed_in(staff.superuser()).get(f"{LIST}{entry.pk}/change/").content.decode()
    assert "2 Jan 2027, 03:04:05.000000 UTC" in page
    assert "2027-01-02" not in page
