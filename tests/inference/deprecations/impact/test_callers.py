"""Who is hurt by an end: every number is the sum of the lines, and no number of tenants makes more queries."""

import csv
import datetime as dt
import io

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from billing.metering.version_use import Use
from inference.deprecations.impact import callers as impact
from inference.models.lifecycle import Notice, Rehearsal
from mlplatform.lib import clock
from tenants.deprecations import schedules
from tests.conftest import Customer, make_customer
from tests.support import staff
from tests.support.impacted import DAY, make_schedule, make_versions, use


def test_a_tenant_is_shown_with_all_that_it_calls_with(acme: Customer, globex: Customer) -> None:
    schedule = make_schedule()
    use(acme.tenant, calls=5, units=11, key=acme.key.uid, client="python-requests/2.32")
    use(acme.tenant, calls=3, units=4, key=acme.key.uid, client="curl/8", days_ago=2)
    use(acme.tenant, calls=1, units=0, key="", client="", days_ago=29)
    use(acme.tenant, calls=100, key=acme.key.uid, days_ago=30)  # too long ago
    use(acme.tenant, calls=100, key=acme.key.uid, api_version="v2")  # another API version
    use(globex.tenant, calls=7, key=globex.key.uid, api_version="v2")
    found = impact.impact(schedule=schedule)
    (row,) = found.rows
    assert row.tenant == acme.tenant
    assert (row.calls, row.units) == (9, 15)
    assert [(part.name, part.calls) for part in row.keys] == [("Production", 8), ("no key", 1)]
    assert [(part.name, part.calls) for part in row.clients] == [
        ("python-requests/2.32", 5), ("curl/8", 3), ("not named", 1),
    ]  # fmt: skip
    assert (row.trend[-1], row.trend[-3], row.trend[0], sum(row.trend)) == (5, 3, 1, 9)
    assert len(found.days) == len(row.trend) == 30
    assert found.days[-1] == clock.now().date()
    assert row.last_call_at is not None
    assert row.last_call_at.date() == clock.now().date()
    assert (found.calls, found.units, found.trend) == (9, 15, row.trend)


def test_what_was_done_about_it_is_shown(acme: Customer, globex: Customer) -> None:
    schedule, ada = make_schedule(), staff.superuser()
    use(acme.tenant, calls=5)
    schedules.grant_extension(
        schedule=schedule,
        tenant=globex.tenant,
        until=schedule.sunset_at + DAY,
        reason="A large client.",
        approved_by=ada,
    )
    for tenant, moment in ((acme.tenant, "announcement"), (acme.tenant, "90d"), (globex.tenant, "announcement")):
        Notice.objects.create(schedule=schedule, tenant=tenant, moment=moment, subject="s", text="t", html="h")
    other = make_customer("initech").tenant
    Notice.objects.create(schedule=schedule, tenant=other, moment="announcement", subject="s", text="t", html="h")
    Rehearsal.objects.create(schedule=schedule, tenant=acme.tenant, state="succeeded", verdict="needs_work")
    found = impact.impact(schedule=schedule)
    caller, helped = found.rows
    assert (caller.tenant, helped.tenant) == (acme.tenant, globex.tenant)
    assert [notice.moment for notice in caller.notices] == ["90d", "announcement"]
    assert (caller.verdict, caller.extension) == ("needs_work", None)
    assert helped.extension is not None
    assert (helped.extension.approved_by, helped.calls, helped.last_call_at) == (ada, 0, None)
    assert (found.tenants, found.callers) == (2, 1)
    assert found.told_others == 1
    assert (found.count("needs_work"), found.count("ready"), found.count("")) == (1, 0, 0)


def test_a_page_of_it_has_the_figures_of_all(acme: Customer, globex: Customer) -> None:
    schedule = make_schedule()
    use(acme.tenant, calls=5, key=acme.key.uid)
    use(globex.tenant, calls=3, key=globex.key.uid)
    second = impact.impact(schedule=schedule, page=2, per_page=1)
    assert [row.tenant for row in second.rows] == [globex.tenant]
    assert [part.name for part in second.rows[0].keys] == ["Production"]
    assert (second.tenants, second.callers, second.calls, second.trend[-1], second.count("")) == (2, 2, 8, 8, 2)
    assert impact.impact(schedule=schedule, page=3, per_page=1).rows == second.rows
    assert impact.callers_of(schedule=schedule) == [acme.tenant.pk, globex.tenant.pk]


def test_a_model_version_counts_its_own_calls(acme: Customer) -> None:
    old, live = make_versions()
    schedule = make_schedule(str(old), str(live))
    use(acme.tenant, calls=5, api_version="v2")
    use(acme.tenant, calls=2, api_version="v1")
    use(acme.tenant, calls=50, api_version="v2", model_version="2.0.0")
    assert impact.impact(schedule=schedule).calls == 7
    everything = impact.use_of_all()
    assert everything["model_version", "sentiment@1.0.0"] == Use(tenants=1, calls=7)
    assert everything["model_version", "sentiment@2.0.0"] == Use(tenants=1, calls=50)
    assert everything["api_version", "v1"] == Use(tenants=1, calls=2)


def test_without_calls_there_are_no_callers(db: None) -> None:
    found = impact.impact(schedule=make_schedule())
    assert (found.rows, found.calls, found.units, found.change) == ((), 0, 0, None)
    assert found.trend == (0,) * 30


def test_more_tenants_make_no_more_queries(acme: Customer) -> None:
    schedule, ada = make_schedule(), staff.superuser()

    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            impact.csv(impact.impact(schedule=schedule))
        return len(captured)

    def grow(customer: Customer) -> None:
        use(customer.tenant, calls=5, key=customer.key.uid)
        use(customer.tenant, calls=5, key=customer.key.uid, client="other", days_ago=3)
        schedules.grant_extension(
            schedule=schedule, tenant=customer.tenant, until=schedule.sunset_at + DAY, reason="So.", approved_by=ada
        )
        Notice.objects.create(schedule=schedule, tenant=customer.tenant, moment="30d", subject="s", text="t", html="h")
        Rehearsal.objects.create(schedule=schedule, tenant=customer.tenant, state="succeeded", verdict="ready")

    grow(acme)
    with_one = queries()
    for number in range(6):
        grow(make_customer(f"tenant-{number}"))
    assert len(impact.impact(schedule=schedule).rows) == 7
    assert queries() == with_one
    assert with_one <= 10


@pytest.mark.parametrize(
    ("before", "after", "change"), [(0, 5, None), (10, 10, 0), (10, 5, -50), (10, 25, 150), (5, 0, -100)]
)
def test_the_week_is_compared_with_the_week_before(before: int, after: int, change: int | None) -> None:
    assert impact.week_change((9,) * 16 + (0,) * 6 + (before,) + (0,) * 6 + (after,)) == change


def test_the_csv_has_a_line_for_each_tenant_and_a_column_for_each_day(acme: Customer, globex: Customer) -> None:
    schedule = make_schedule()
    acme.tenant.name = '=HYPERLINK("https://evil.example")'
    acme.tenant.save()
    acme.key.name = "+cmd"
    acme.key.save()
    use(acme.tenant, calls=5, key=acme.key.uid, client="@SUM(A1)")
    use(globex.tenant, calls=2, key=globex.key.uid, days_ago=8)
    lines = list(csv.DictReader(io.StringIO(impact.csv(impact.impact(schedule=schedule)))))
    assert [line["tenant"] for line in lines] == ["acme", "globex"]
    assert lines[0]["tenant_name"] == '\'=HYPERLINK("https://evil.example")'
    assert (lines[0]["keys"], lines[0]["clients"]) == ("'+cmd (5)", "'@SUM(A1) (5)")
    assert (lines[0]["calls_30d"], lines[0]["units_30d"], lines[0]["day_30"]) == ("5", "10", "5")
    assert (lines[1]["calls_last_7_days"], lines[1]["calls_7_days_before"], lines[1]["day_22"]) == ("0", "2", "2")
    assert lines[1]["rehearsal"] == "not_rehearsed"


@given(st.text(min_size=1, max_size=20))
def test_no_cell_begins_like_a_formula(text: str) -> None:
    cell = impact.harmless(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.removeprefix("'") == text.removeprefix("'")


def test_what_ends_soon_names_those_that_call_and_have_no_extension(
    acme: Customer, globex: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = make_schedule()
    month = dt.timedelta(days=30)
    use(acme.tenant, calls=5)
    use(globex.tenant, calls=5)
    assert impact.ending_soon(within=month) == []
    later = schedule.sunset_at - 29 * DAY
    monkeypatch.setattr(clock, "now", lambda: later)
    assert impact.ending_soon(within=month) == []  # their calls are long ago
    use(acme.tenant, calls=5)
    use(globex.tenant, calls=5)
    assert impact.ending_soon(within=month) == [(schedule, ["Acme", "Globex"])]
    schedules.grant_extension(
        schedule=schedule,
        tenant=globex.tenant,
        until=schedule.sunset_at + DAY,
        reason="So.",
        approved_by=staff.superuser(),
    )
    assert impact.ending_soon(within=month) == [(schedule, ["Acme"])]
    schedules.cancel(schedule)
    assert impact.ending_soon(within=month) == []
