"""Lists of usage read what they show: a period, totals and counts within bounds, filters without a look at all rows."""

import datetime as dt
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.admin import usage_filters, usage_records
from billing.models import UsageRecord, UsageRollup
from inference.models import MLModel
from mlplatform.lib import clock, ids
from tests.conftest import Customer
from tests.support import staff

DAYS, RECORDS = "/admin/billing/usagerollup/", "/admin/billing/usagerecord/"


@pytest.fixture
def admin(db: None) -> Client:
    MLModel.objects.create(name="digits")
    return staff.signed_in(staff.superuser())


def use(customer: Customer, back: int, units: int, **fields: object) -> None:
    values: dict[str, object] = {
        "model": "digits",
        "api_version": "v2",
        "operation": "predict",
        "key_uid": customer.key.uid,
    }
    UsageRollup.objects.create(
        day=clock.now().date() - dt.timedelta(days=back), tenant=customer.tenant, units=units, **values | fields
    )


def record(customer: Customer, *, back: float = 0, **fields: object) -> UsageRecord:
    values: dict[str, object] = {
        "id": ids.hex_id(), "request_id": ids.hex_id(), "operation": "predict", "model": "digits", "api_version": "v2",
        "key_uid": customer.key.uid, "units": 3,
    }  # fmt: skip
    return UsageRecord.objects.create(
        tenant=customer.tenant, occurred_at=clock.now() - dt.timedelta(days=back), **values | fields
    )


def total(admin: Client, **query: str) -> str:
    return str(admin.get(DAYS, query).context["totals"]["units"])


def listed(admin: Client, **query: str) -> list[str]:
    return [row.pk for row in admin.get(RECORDS, query).context["cl"].result_list]


def on(back: int) -> str:
    return (clock.now().date() - dt.timedelta(days=back)).isoformat()


def test_daily_usage_begins_with_a_month(admin: Client, acme: Customer) -> None:
    for back in (0, 29, 30, 60):
        use(acme, back, 10)
    assert total(admin) == "20"
    assert total(admin, day_from=on(60), day_to=on(30)) == "20"
    assert total(admin, day_to=on(31)) == "10"


def test_a_long_period_needs_a_tenant_or_a_model(admin: Client, acme: Customer, globex: Customer) -> None:
    for back in (0, 30, 31, 300):
        use(acme, back, 10)
    use(globex, 300, 1)
    cut = admin.get(DAYS, {"day_from": on(300)})
    assert cut.context["totals"]["units"] == "20"
    assert "the latest 31 days of what was asked" in cut.content.decode()
    assert total(admin, day_from=on(300), tenant__id__exact=str(acme.tenant.pk)) == "40"
    assert total(admin, day_from=on(300), model="digits") == "41"


def test_usual_periods_are_a_click_and_keep_the_filters(admin: Client, acme: Customer) -> None:
    for back in (0, 6, 7, 80):
        use(acme, back, 10)
    page = admin.get(DAYS, {"model": "digits"})
    periods = {title: link for title, link, _ in page.context["presets"]}
    assert list(periods) == ["7 days", "30 days", "90 days", "1 year"]
    assert [title for title, _, shown in page.context["presets"] if shown] == ["30 days"]
    assert admin.get(DAYS + periods["7 days"]).context["totals"]["units"] == "20"
    assert admin.get(DAYS + periods["1 year"]).context["totals"]["units"] == "40"
    assert "model=digits" in periods["7 days"]
    assert [title for title, _, _ in admin.get(DAYS).context["presets"]] == ["7 days", "30 days"]


def test_the_chart_has_a_bar_for_each_day_and_for_each_week_of_a_year(admin: Client, acme: Customer) -> None:
    for back in (0, 1, 8):
        use(acme, back, 10)

    def bars(**query: str) -> list[int]:
        chart = admin.get(DAYS, query).context["chart"]
        return [int(units) for units in re.findall(r'title="[^"]*: ([\d,]+) units"', chart)]

    assert bars() == [*[0] * 21, 10, *[0] * 6, 10, 10]
    weeks = bars(day_from=on(364), model="digits")
    assert (len(weeks), weeks[-2:], sum(weeks)) == (53, [10, 20], 30)
    day = re.findall(r'href="([^"]*)"', admin.get(DAYS).context["chart"])[-1]
    assert admin.get(DAYS + day.replace("&amp;", "&")).context["totals"]["units"] == "10"


def test_daily_usage_is_filtered_and_searched(admin: Client, acme: Customer, globex: Customer) -> None:
    use(acme, 0, 1)
    use(acme, 0, 2, model="", operation="graphql", api_version="")
    use(globex, 0, 4, api_version="v1")
    assert total(admin, tenant__id__exact=str(acme.tenant.pk), key_uid=acme.key.uid) == "3"
    assert total(admin, tenant__id__exact=str(acme.tenant.pk), key_uid="key_other") == "0"
    assert total(admin, model="-") == "2"
    assert total(admin, api_version="v1") == "4"
    assert total(admin, api_version="-") == "2"
    assert total(admin, operation="graphql") == "2"
    for words, units in (
        ("acm", "3"),
        ("GLOBEX", "4"),
        (globex.key.uid, "4"),
        ("digits", "5"),
        ("acme digits", "1"),
        ("zzz", "0"),
    ):
        assert total(admin, q=words) == units, words


def test_keys_are_offered_for_a_tenant(admin: Client, acme: Customer, globex: Customer) -> None:
    for page in (DAYS, RECORDS):
        assert acme.key.uid not in admin.get(page).content.decode()
        shown = admin.get(page, {"tenant__id__exact": str(acme.tenant.pk)}).content.decode()
        assert f"Production ({acme.key.uid})" in shown
        assert globex.key.uid not in shown


def test_records_are_filtered_by_model_key_and_api_version(admin: Client, acme: Customer, globex: Customer) -> None:
    one = record(acme)
    fee = record(acme, model="", api_version="")
    other = record(globex, model="minilm", api_version="v1", cached=True)
    assert listed(admin, model="digits") == [one.pk]
    assert listed(admin, model="-") == [fee.pk]
    assert listed(admin, key_uid=globex.key.uid) == [other.pk]
    assert listed(admin, api_version="v1") == [other.pk]
    assert listed(admin, cached__exact="1") == [other.pk]
    assert set(listed(admin, tenant__id__exact=str(acme.tenant.pk))) == {one.pk, fee.pk}


def test_old_records_are_found_by_what_an_index_finds(admin: Client, acme: Customer) -> None:
    old, new = record(acme, back=40, request_id="Old-Request"), record(acme)
    assert listed(admin) == listed(admin, api_version="v2") == [new.pk]
    assert "The last 31 days" in admin.get(RECORDS).content.decode()
    for query in (
        {"q": "Old-Request"}, {"q": old.pk}, {"q": acme.key.uid}, {"model": "digits"},
        {"tenant__id__exact": str(acme.tenant.pk)}, {"occurred_at_from_0": "2020-01-01"},
    ):  # fmt: skip
        assert old.pk in listed(admin, **query), query
        assert "The last 31 days" not in admin.get(RECORDS, query).content.decode()
    assert listed(admin, q="old-request") == [], "ids are found as they are written"


def test_a_long_list_is_counted_no_further_than_it_is_shown(
    admin: Client, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_filters, "MOST_COUNTED", 3)
    monkeypatch.setattr(usage_records, "MOST_COUNTED", 3)
    for _ in range(5):
        record(acme)
    page = admin.get(RECORDS)
    assert page.context["cl"].result_count == 3
    assert "The newest 3 are listed." in page.content.decode()


@pytest.mark.parametrize("page", [DAYS, RECORDS])
def test_no_list_looks_through_all_usage(admin: Client, acme: Customer, page: str) -> None:
    use(acme, 0, 1)
    record(acme)
    with CaptureQueriesContext(connection) as asked:
        admin.get(page)
    of_usage = [one["sql"] for one in asked if "billing_usager" in one["sql"]]
    assert of_usage
    for sql in of_usage:
        assert "DISTINCT" not in sql
        assert "INNER JOIN" not in sql
        assert "WHERE" in sql
    assert len(asked) <= 15
