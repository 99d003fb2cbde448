"""The timeline and the impact page: what they say, whom a message reaches, and who may do what."""

import csv
import datetime as dt
import io
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from inference.deprecations.notices import sending as notices
from inference.deprecations.rehearsals import report
from inference.deprecations.rehearsals.comparing import Difference, FieldChange
from inference.deprecations.rehearsals.report import CallOutcome
from inference.models import ModelVersion
from inference.models.lifecycle import Notice, Rehearsal
from mlplatform import attention
from mlplatform.lib import clock, dates
from tenants.deprecations import catalogue, schedules
from tenants.models import ApiVersion, Brownout, DeprecationSchedule, Extension, Tenant, User
from tests.conftest import Customer, make_customer
from tests.support import staff
from tests.support.impacted import DAY, GUIDE, make_schedule, make_versions, use

SCHEDULES = "/admin/tenants/deprecationschedule/"
TIMELINE = f"{SCHEDULES}timeline/"


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


@pytest.fixture
def schedule(acme: Customer) -> DeprecationSchedule:
    """v1 is deprecated, and acme calls it."""
    row = make_schedule()
    use(acme.tenant, calls=1234, key=acme.key.uid, client="python-requests/2.32")
    catalogue.forget()
    return row


def test_the_timeline_says_in_words_what_its_bars_show(admin: Client, schedule: DeprecationSchedule) -> None:
    starts = clock.now() + DAY
    schedules.plan_brownout(schedule=schedule, starts_at=starts, ends_at=starts + DAY / 24, share=20, by=None)
    make_versions()
    catalogue.forget()
    page = admin.get(TIMELINE).content.decode()
    assert f"deprecated {dates.day(schedule.deprecate_at)}; sunset {dates.day(schedule.sunset_at)}" in page
    assert f"brownout of 20 % from {dates.moment(starts)}" in page
    assert "v2: active since 15 Nov 2026." in page
    assert "1 tenant, 1,234 calls" in page
    assert f"{SCHEDULES}{schedule.pk}/change/" in page
    assert f"{SCHEDULES}{schedule.pk}/impact/" in page
    assert f"{SCHEDULES}add/?subject=sentiment@1.0.0" in page
    assert f"{SCHEDULES}add/?subject=sentiment@2.0.0" not in page  # it is live
    assert "is deprecated in favour of" not in page  # that has come to pass
    assert "ends: calls get 410 Gone" in page


def test_a_model_is_one_row_with_a_lane_for_each_version(admin: Client, schedule: DeprecationSchedule) -> None:
    make_versions("sentiment")
    make_versions("digits")
    page = admin.get(TIMELINE)
    shown = {
        row["name"]: [(lane["number"], lane["state"], lane["does"]) for lane in row["lanes"]]
        for row in page.context["models"]
    }
    own = [("1.0.0", "ready", "Plan the end of"), ("2.0.0", "live", "")]
    assert shown == {"digits": own, "sentiment": own}
    assert page.content.decode().count('class="p-tl-row p-tl-model"') == 2
    found = admin.get(f"{TIMELINE}?q=DIG")
    assert [row["name"] for row in found.context["models"]] == ["digits"]
    assert len(found.context["api_versions"]) == 3
    assert found.context["coming"] == page.context["coming"]
    assert "No model has “x&lt;y” in its name." in admin.get(f"{TIMELINE}?q=x<y").content.decode()


def test_many_models_take_several_pages(admin: Client, schedule: DeprecationSchedule) -> None:
    for number in range(41):
        make_versions(f"model-{number:02}")
    assert len(admin.get(TIMELINE).context["models"]) == 40
    last = admin.get(f"{TIMELINE}?page=2&q=model")
    assert [row["name"] for row in last.context["models"]] == ["model-40"]
    assert "models 41 to 41 of 41" in last.content.decode()


def test_an_end_is_planned_only_where_one_can_be(admin: Client, schedule: DeprecationSchedule) -> None:
    assert "Plan an end" in admin.get(TIMELINE).content.decode()
    make_schedule("v1.1")
    catalogue.forget()
    assert "Plan an end" not in admin.get(TIMELINE).content.decode()  # v2 is the default, and no model has two versions
    make_versions()
    assert "Plan an end" in admin.get(TIMELINE).content.decode()


def test_more_versions_make_no_more_queries(admin: Client, schedule: DeprecationSchedule) -> None:
    old, live = make_versions()

    def queries() -> int:
        catalogue.forget()
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(TIMELINE).status_code == 200
        return len(captured)

    queries()
    before = queries()
    make_schedule(str(old), str(live))
    for number in range(5):
        ModelVersion.objects.create(
            model=old.model, version=f"3.0.{number}", sha256="0" * 64, input_schema={}, output_schema={}, state="ready"
        )
    assert queries() == before


def test_the_impact_page_shows_who_calls_and_what_was_done(
    admin: Client, acme: Customer, schedule: DeprecationSchedule
) -> None:
    until = schedule.sunset_at + 30 * DAY
    schedules.grant_extension(
        schedule=schedule, tenant=acme.tenant, until=until, reason="Audit.", approved_by=User.objects.get(is_staff=True)
    )
    Notice.objects.create(
        schedule=schedule, tenant=acme.tenant, moment="30d", subject="s", text="t", html="h", error="550 no such user"
    )
    page = admin.get(f"{SCHEDULES}{schedule.pk}/impact/").content.decode()
    for shown in (
        "Acme", "1,234", "2,468 units", "Production", "python-requests/2.32", "30 days before", "550 no such user",
        f"{until:%Y-%m-%d}", "Audit.", "Not rehearsed", "Change extension", "1,234 calls in 30 days",
    ):  # fmt: skip
        assert shown in page, shown


def test_the_impact_page_lists_brownouts_with_who_was_told(
    admin: Client, acme: Customer, schedule: DeprecationSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now()
    planned, past = (
        schedules.plan_brownout(schedule=schedule, starts_at=start, ends_at=start + DAY / 24, share=share, by=None)
        for start, share in ((now + 3 * DAY, 25), (now + DAY / 24, 40))
    )
    Notice.objects.create(
        schedule=schedule, tenant=acme.tenant, moment=f"brownout:{past.pk}", subject="s", text="t", html="h"
    )
    schedules.rehearse_brownout(schedule_id=schedule.pk, tenant=acme.tenant, minutes=5, share=77)
    monkeypatch.setattr(clock, "now", lambda: now + DAY)
    page = admin.get(f"{SCHEDULES}{schedule.pk}/impact/")
    soon, over = page.context["brownouts"]
    assert (soon["share"], soon["told"], soon["told_later"], over["share"], over["told"]) == (25, 0, True, 40, 1)
    text = page.content.decode()
    assert f"leaves {dates.moment(planned.starts_at - DAY)}" in text
    assert "1 tenant told" in text
    assert f"stop-brownout/{planned.pk}/" in text
    assert f"stop-brownout/{past.pk}/" not in text
    reader = staff.signed_in(staff.with_role("support")).get(f"{SCHEDULES}{schedule.pk}/impact/").content.decode()
    assert f"leaves {dates.moment(planned.starts_at - DAY)}" in reader
    assert "stop-brownout" not in reader


def test_texts_of_customers_stay_texts(admin: Client, acme: Customer, schedule: DeprecationSchedule) -> None:
    acme.tenant.name = acme.key.name = "<script>alert(1)</script>"
    acme.tenant.save()
    acme.key.save()
    use(acme.tenant, client="<img src=x onerror=alert(1)>")
    page = admin.get(f"{SCHEDULES}{schedule.pk}/impact/").content.decode()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_more_tenants_make_no_more_queries(admin: Client, schedule: DeprecationSchedule) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(f"{SCHEDULES}{schedule.pk}/impact/").status_code == 200
        return len(captured)

    queries()
    before = queries()
    for number in range(6):
        customer = make_customer(f"tenant-{number}")
        use(customer.tenant, key=customer.key.uid)
        Notice.objects.create(schedule=schedule, tenant=customer.tenant, moment="30d", subject="s", text="t", html="h")
    assert queries() == before


def test_many_tenants_take_several_pages(admin: Client, schedule: DeprecationSchedule) -> None:
    Tenant.objects.bulk_create(Tenant(slug=f"t{n}", name=f"T{n:03}", shard=0) for n in range(120))
    for row in Tenant.objects.filter(slug__startswith="t"):
        use(row)
    first = admin.get(f"{SCHEDULES}{schedule.pk}/impact/").content.decode()
    assert "1 to 50 of 121" in first
    assert first.count("Grant an extension to") == 50
    for last in ("3", "4", "0"):
        page = admin.get(f"{SCHEDULES}{schedule.pk}/impact/?page={last}").content.decode()
        assert "101 to 121 of 121" in page
        assert page.count("Grant an extension to") == 21
    assert "1 to 50 of 121" in admin.get(f"{SCHEDULES}{schedule.pk}/impact/?page={'9' * 99}").content.decode()


def test_the_csv_is_a_file(admin: Client, schedule: DeprecationSchedule) -> None:
    answer = admin.get(f"{SCHEDULES}{schedule.pk}/impact.csv")
    assert answer["Content-Type"].startswith("text/csv")
    assert answer["Content-Disposition"].startswith('attachment; filename="impact-v1-')
    (line,) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert (line["tenant"], line["calls_30d"]) == ("acme", "1234")


# --- Messages ----------------------------------------------------------------------------------------------------------


def told(schedule: DeprecationSchedule) -> set[int]:
    return notices.tenants_told(schedule_id=schedule.pk)


def test_a_message_goes_to_just_those_that_call(
    admin: Client, acme: Customer, globex: Customer, schedule: DeprecationSchedule
) -> None:
    page = f"{SCHEDULES}{schedule.pk}/message/"
    written = admin.get(f"{page}?all=1")
    assert written.context["form"].initial["tenants"] == str(acme.tenant.pk)
    fields = {"subject": "Please move", "text": "v1 ends soon.", "tenants": str(acme.tenant.pk)}
    asked = admin.post(page, fields).content.decode()
    assert "Send “Please move” to the owners and admins of 1 tenant?" in asked
    assert told(schedule) == set()
    answer = admin.post(page, {**fields, "confirmed": "yes"}, follow=True)
    assert staff.said(answer) == ["The message goes to 1 tenant."]
    assert told(schedule) == {acme.tenant.pk}
    assert "Please move" in answer.content.decode()


def test_ticked_tenants_are_written_to(
    admin: Client, acme: Customer, globex: Customer, schedule: DeprecationSchedule
) -> None:
    use(globex.tenant)
    page = f"{SCHEDULES}{schedule.pk}/message/"
    shown = admin.get(f"{page}?tenant={globex.tenant.pk}&tenant=x&tenant=99999999999999999999")
    assert shown.context["names"] == ["Globex"]
    nothing_ticked = admin.get(page, follow=True)
    assert staff.said(nothing_ticked) == ["Tick the tenants to which you want to write."]
    empty = admin.post(page, {"subject": " ", "text": "", "tenants": str(globex.tenant.pk)})
    assert set(empty.context["form"].errors) == {"subject", "text"}
    assert told(schedule) == set()


# --- Rights ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["support", "models", "billing"])
def test_all_roles_see_the_timeline_and_the_impact(schedule: DeprecationSchedule, role: str) -> None:
    client = staff.signed_in(staff.with_role(role))
    pages = (TIMELINE, SCHEDULES, f"{SCHEDULES}{schedule.pk}/impact/", f"{SCHEDULES}{schedule.pk}/impact.csv")
    for page in (*pages, f"{SCHEDULES}{schedule.pk}/change/", "/admin/tenants/apiversion/"):
        assert client.get(page).status_code == 200, page


def test_staff_without_a_role_see_none_of_it(schedule: DeprecationSchedule) -> None:
    client = staff.signed_in(staff.with_role(""))
    pages = (TIMELINE, SCHEDULES, f"{SCHEDULES}{schedule.pk}/impact/", f"{SCHEDULES}{schedule.pk}/impact.csv")
    for page in pages:
        assert client.get(page).status_code == 403, page


@pytest.mark.parametrize("role", ["support", "billing", ""])
def test_only_the_role_for_models_changes_anything(acme: Customer, schedule: DeprecationSchedule, role: str) -> None:
    starts = clock.now() + DAY
    planned = schedules.plan_brownout(schedule=schedule, starts_at=starts, ends_at=starts + DAY / 24, share=20, by=None)
    client = staff.signed_in(staff.with_role(role))
    own, version = f"{SCHEDULES}{schedule.pk}/", ApiVersion.objects.get(name="v1")
    moment = f"{starts:%Y-%m-%dT%H:%M}"
    later = f"{schedule.sunset_at + DAY:%Y-%m-%dT%H:%M}"
    tries = {
        f"{SCHEDULES}add/": {"subject": "v1.1", "successor": "v2", "guide": GUIDE},
        f"{own}change/": {"reason": "Changed."},
        f"{own}cancel/": {"confirmed": "yes"},
        f"{own}brownout/": {"starts_at": moment, "minutes": "10", "share": "10"},
        f"{own}stop-brownout/{planned.pk}/": {"confirmed": "yes"},
        f"{own}extension/{acme.tenant.pk}/": {"until": later, "reason": "So."},
        f"{own}message/": {"subject": "s", "text": "t", "tenants": str(acme.tenant.pk), "confirmed": "yes"},
        f"/admin/tenants/apiversion/{version.pk}/change/": {"summary": "Changed."},
        "/admin/tenants/apiversion/add/": {"name": "v1.1"},
    }
    for page, fields in tries.items():
        assert client.post(page, fields).status_code == 403, page
    row = DeprecationSchedule.objects.get()
    assert (row.reason, row.canceled_at) == ("v2 says more.", None)
    assert Brownout.objects.get().ends_at == planned.ends_at
    assert Extension.objects.count() == 0
    assert Notice.objects.count() == 0
    assert ApiVersion.objects.get(name="v1").summary == version.summary


def test_the_role_for_models_does_all_of_it(acme: Customer, schedule: DeprecationSchedule) -> None:
    client = staff.signed_in(staff.with_role("models"))
    own = f"{SCHEDULES}{schedule.pk}/"
    later = f"{schedule.sunset_at + DAY:%Y-%m-%dT%H:%M}"
    starts = f"{clock.now() + DAY:%Y-%m-%dT%H:%M}"
    assert client.get(f"{SCHEDULES}add/?subject=v1.1").status_code == 200
    assert client.post(f"{own}brownout/", {"starts_at": starts, "minutes": "10", "share": "10"}).status_code == 302
    page = f"{own}extension/{acme.tenant.pk}/"
    assert client.post(page, {"until": later, "reason": "So."}).status_code == 302
    approver = Extension.objects.get().approved_by
    assert approver is not None
    assert approver.email == "models@staff.example"
    message = {"subject": "s", "text": "t", "tenants": str(acme.tenant.pk), "confirmed": "yes"}
    assert client.post(f"{own}message/", message).status_code == 302
    assert Notice.objects.filter(tenant=acme.tenant).exists()
    assert client.post(f"{own}cancel/", {"confirmed": "yes"}).status_code == 302
    assert DeprecationSchedule.objects.get().canceled_at is not None


# --- The start page ----------------------------------------------------------------------------------------------------


def test_an_end_that_comes_close_asks_for_attention(
    acme: Customer, schedule: DeprecationSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = staff.superuser()

    def texts(tone: str) -> list[str]:
        return [
            notice.text for notice in attention.notices(ada, []) if notice.icon == "event_busy" and notice.tone == tone
        ]

    def walk(before: dt.timedelta) -> Callable[[], dt.datetime]:
        moment = schedule.sunset_at - before
        return lambda: moment

    assert texts("warning") == texts("danger") == []
    monkeypatch.setattr(clock, "now", walk(20 * DAY))
    use(acme.tenant)
    assert texts("warning") == ["v1 ends in 20 days, and Acme still calls it."]
    monkeypatch.setattr(clock, "now", walk(5 * DAY))
    assert texts("danger") == ["v1 ends in 5 days, and Acme still calls it."]
    (notice,) = [one for one in attention.notices(ada, []) if one.icon == "event_busy"]
    assert notice.link == f"{SCHEDULES}{schedule.pk}/impact/"
    assert [one for one in attention.notices(staff.with_role(""), []) if one.icon == "event_busy"] == []


def rehearsed(schedule: DeprecationSchedule, tenant: Tenant) -> Rehearsal:
    """A finished rehearsal in which a call would fail and a label differs."""
    made = report.of(
        [
            CallOutcome(failure=("invalid-input", "The model takes text.", "input")),
            CallOutcome(
                answer_changes=(FieldChange("prediction", "removed", "text", ""),),
                differences=(Difference("label", "prediction", 1.0, "positive → negative"),),
                old_latency_ms=12.0,
                new_latency_ms=34.5,
                old_units=10,
                new_units=20,
            ),
        ]
    )
    return Rehearsal.objects.create(
        schedule=schedule,
        tenant=tenant,
        state="succeeded",
        verdict=made.verdict,
        report=made.as_json(),
        finished_at=clock.now(),
    )


def test_staff_read_the_report_of_a_rehearsal(admin: Client, schedule: DeprecationSchedule, acme: Customer) -> None:
    page = f"{SCHEDULES}{schedule.pk}/rehearsal/{acme.tenant.pk}/"
    assert admin.get(page).status_code == 404
    rehearsed(schedule, acme.tenant)
    assert page in admin.get(f"{SCHEDULES}{schedule.pk}/impact/").content.decode()
    shown = admin.get(page).content.decode()
    for words in ("Needs work", "The model takes text.", "positive → negative", "34.5", "12.0 ms before", "10 before"):
        assert words in shown


def test_who_may_not_see_schedules_reads_no_report(db: None, schedule: DeprecationSchedule, acme: Customer) -> None:
    rehearsed(schedule, acme.tenant)
    stranger = staff.signed_in(staff.with_role(""))
    answer = stranger.get(f"{SCHEDULES}{schedule.pk}/rehearsal/{acme.tenant.pk}/")
    assert answer.status_code == 403
    assert b"The model takes text" not in answer.content


def test_notices_of_a_tenants_own_countdown_are_named(
    admin: Client, schedule: DeprecationSchedule, acme: Customer
) -> None:
    for moment in ("30d", "7d:2027-10-21"):
        Notice.objects.create(
            schedule=schedule,
            tenant=acme.tenant,
            moment=moment,
            subject="s",
            text="t",
            html="h",
            created_at=clock.now(),
        )
    page = admin.get(f"{SCHEDULES}{schedule.pk}/impact/").content.decode()
    assert "30 days before" in page
    assert "7 days before its own end on 21 Oct 2027" in page
