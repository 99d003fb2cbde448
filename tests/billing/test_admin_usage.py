import csv
import datetime as dt
import io

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.metering import voids as usage_voids
from billing.models import UsageRecord, UsageRollup
from mlplatform.lib import clock, ids
from tenants.models import ApiKey
from tests.conftest import Customer
from tests.support import staff

DAYS, RECORDS = "/admin/billing/usagerollup/", "/admin/billing/usagerecord/"


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


def day(customer: Customer, back: int, model: str, units: int) -> UsageRollup:
    return UsageRollup.objects.create(
        day=clock.now().date() - dt.timedelta(days=back),
        tenant=customer.tenant,
        key_uid=customer.key.uid,
        model=model,
        api_version="v2",
        operation="predict",
        calls=units,
        inputs=units,
        cached_inputs=0,
        units=units,
    )


def record(customer: Customer, request_id: str = "") -> UsageRecord:
    return UsageRecord.objects.create(
        id=ids.hex_id(),
        tenant=customer.tenant,
        key_uid=customer.key.uid,
        occurred_at=clock.now(),
        request_id=request_id or ids.hex_id(),
        operation="predict",
        model="digits",
        model_version="1.0.0",
        api_version="v2",
        units=3,
    )


def test_the_totals_are_of_everything_that_is_filtered(admin: Client, acme: Customer, globex: Customer) -> None:
    for back in range(3):
        day(acme, back, "digits", 1000)
    day(globex, 0, "minilm", 5)
    assert "<strong>3,005</strong> units" in admin.get(DAYS).content.decode()
    only = {"tenant__id__exact": str(acme.tenant.pk), "model": "digits"}
    assert "<strong>3,000</strong> units" in admin.get(DAYS, only).content.decode()
    first = (clock.now().date() - dt.timedelta(days=1)).isoformat()
    page = admin.get(DAYS, {"day_from": first, "day_to": clock.now().date().isoformat()}).content.decode()
    assert "<strong>2,005</strong> units" in page


def test_the_totals_tell_what_caches_did(admin: Client, acme: Customer) -> None:
    day(acme, 0, "digits", 1000)
    day(acme, 1, "digits", 1000)
    UsageRollup.objects.update(cached_inputs=635, saved_units=5715)
    page = admin.get(DAYS).content.decode()
    assert "<strong>1,270</strong> cached (63.5 %)" in page
    assert "<strong>11,430</strong> units saved by caches" in page
    assert "5,715" in page
    rows = list(csv.DictReader(io.StringIO(admin.get(DAYS, {"export": "csv"}).getvalue().decode())))
    assert [row["saved_units"] for row in rows] == ["5715", "5715"]


def test_calls_are_told_apart_from_calls_of_a_model_and_what_has_no_model_is_named(
    admin: Client, acme: Customer
) -> None:
    """A batch over two models with a fee: one call, on the row of the call itself, and a call of each model."""
    for model, calls, units in (("", 1, 50), ("digits", 0, 1), ("minilm", 0, 1)):
        day(acme, 0, model, units)
        UsageRollup.objects.filter(model=model).update(calls=calls, model_calls=1)
    page = admin.get(DAYS).content.decode()
    assert "<strong>1</strong> calls" in page
    assert "<strong>3</strong> calls of models" in page
    rows = list(csv.DictReader(io.StringIO(admin.get(DAYS, {"export": "csv"}).getvalue().decode())))
    assert {row["model"]: (row["calls"], row["calls_of_model"], row["units"]) for row in rows} == {
        "(call fee)": ("1", "1", "50"), "digits": ("0", "1", "1"), "minilm": ("0", "1", "1"),
    }  # fmt: skip
    one = record(acme, "a-fee")
    UsageRecord.objects.update(model="", model_version="")
    assert "(call fee)" in admin.get(RECORDS, {"q": "a-fee"}).content.decode()
    assert admin.get(f"{RECORDS}{one.pk}/change/").status_code == 200


def test_a_tenants_page_tells_what_caches_did_for_it(admin: Client, acme: Customer, globex: Customer) -> None:
    for back in (0, 29, 31):
        day(acme, back, "digits", 1000)
    UsageRollup.objects.update(cached_inputs=635, saved_units=5715)
    page = admin.get(f"/admin/tenants/tenant/{acme.tenant.pk}/edit/").content.decode()
    assert "<strong>63.5 %</strong> of 2,000 inputs came from a cache, which saved 11,430 units" in page
    assert "No inputs yet." in admin.get(f"/admin/tenants/tenant/{globex.tenant.pk}/edit/").content.decode()


def test_the_csv_is_of_everything_that_is_filtered(admin: Client, acme: Customer, globex: Customer) -> None:
    ApiKey.objects.filter(pk=acme.key.pk).update(name="=cmd()")
    for back in range(120):  # more than a page
        day(acme, back, "digits", back)
    day(globex, 0, "digits", 7)
    first = (clock.now().date() - dt.timedelta(days=119)).isoformat()
    answer = admin.get(DAYS, {"tenant__id__exact": str(acme.tenant.pk), "day_from": first, "export": "csv"})
    assert answer["Content-Type"].startswith("text/csv")
    assert "attachment" in answer["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode())))
    assert len(rows) == 120
    assert {row["tenant"] for row in rows} == {"acme"}
    assert {row["key_name"] for row in rows} == {"'=cmd()"}  # no formula for a spreadsheet
    assert sum(int(row["units"]) for row in rows) == sum(range(120))


def test_the_csv_needs_the_permission_to_see_usage(acme: Customer) -> None:
    day(acme, 0, "digits", 7)
    stranger = staff.signed_in(staff.with_role(""))
    assert stranger.get(DAYS, {"export": "csv"}).status_code == 403


def test_a_call_is_found_by_its_request_id(admin: Client, acme: Customer) -> None:
    record(acme)
    wanted = record(acme, "my-request-7")
    found = admin.get(RECORDS, {"q": "my-request-7"}).context["cl"].result_list
    assert [row.pk for row in found] == [wanted.pk]
    assert "my-request-7" in admin.get(f"{RECORDS}{wanted.pk}/change/").content.decode()


@pytest.mark.parametrize("page", [DAYS, RECORDS])
def test_facts_cannot_be_added_changed_or_deleted(admin: Client, acme: Customer, page: str) -> None:
    row = day(acme, 0, "digits", 7) if page == DAYS else record(acme)
    assert admin.post(f"{page}add/", {}).status_code == 403
    assert admin.post(f"{page}{row.pk}/change/", {"units": "0"}).status_code == 403
    assert admin.post(f"{page}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    admin.post(page, {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"})
    assert type(row).objects.get(pk=row.pk).units == row.units


@pytest.mark.parametrize("page", [DAYS, RECORDS])
def test_lists_cost_the_same_queries_with_one_row_and_with_ten(admin: Client, acme: Customer, page: str) -> None:
    day(acme, 0, "digits", 1)
    record(acme)
    admin.get(page)  # what a process keeps in memory is read
    with CaptureQueriesContext(connection) as one:
        admin.get(page)
    for back in range(1, 10):
        day(acme, back, "digits", 1)
        record(acme)
    with CaptureQueriesContext(connection) as ten:
        admin.get(page)
    assert len(ten) == len(one)


def test_a_record_and_what_takes_it_back_name_each_other(admin: Client, acme: Customer) -> None:
    wrong = record(acme, "refused-call")
    void = usage_voids.counter_record(wrong)
    void.save()
    listed = admin.get(RECORDS, {"q": "refused-call"}).content.decode()
    assert "taken back" in listed
    assert f"by {void.pk}" in admin.get(f"{RECORDS}{wrong.pk}/change/").content.decode()
    assert f"this takes {wrong.pk} back" in admin.get(f"{RECORDS}{void.pk}/change/").content.decode()
