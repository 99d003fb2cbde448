"""Staff plan, change and call off the ends of versions; each wrong field says what is wrong, and a refusal changes nothing."""

import datetime as dt
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from inference.admin.deprecations.schedule_form import READ_THE_DRAFT
from mlplatform.lib import clock, dates
from tenants.deprecations import catalogue, schedules
from tenants.deprecations.rules import State
from tenants.models import ApiVersion, Brownout, DeprecationSchedule, Extension
from tests.conftest import Customer
from tests.support import staff
from tests.support.impacted import DAY, GUIDE, make_schedule, make_versions

VERSIONS, SCHEDULES = "/admin/tenants/apiversion/", "/admin/tenants/deprecationschedule/"
INLINES = ("brownouts", "extensions", "brownouts-2")


@pytest.fixture
def admin(db: None, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A superuser's browser. What is published is published at once: the transaction of a test never commits."""
    monkeypatch.setattr(transaction, "on_commit", lambda publish: publish())
    return staff.signed_in(staff.superuser())


def split(name: str, moment: dt.datetime) -> dict[str, str]:
    """A moment as the two inputs of the admin."""
    return {f"{name}_0": f"{moment:%Y-%m-%d}", f"{name}_1": f"{moment:%H:%M:%S}"}


def form(**more: str) -> dict[str, str]:
    now = clock.now()
    return {
        "subject": "v1",
        "successor": "v2",
        **split("announce_at", now),
        **split("deprecate_at", now + 30 * DAY),
        **split("sunset_at", now + 230 * DAY),
        "reason": "v2 says more.",
        "short_notice_reason": "",
        "guide": GUIDE,
        "audience": "everyone",
        **more,
    }


def change_form(schedule: DeprecationSchedule, **more: str) -> dict[str, str]:
    kept = form(
        **split("announce_at", schedule.announce_at),
        **split("deprecate_at", schedule.deprecate_at),
        **split("sunset_at", schedule.sunset_at),
    )
    return {**kept, **staff.no_rows(*INLINES), **more}


def errors(response: Any) -> dict[str, Any]:
    assert response.status_code == 200
    return dict(response.context["adminform"].form.errors)


def whole(moment: dt.datetime) -> dt.datetime:
    return moment.replace(microsecond=0)


# --- API versions ------------------------------------------------------------------------------------------------------


def test_the_list_shows_states_that_nothing_stores(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = make_schedule()
    page = admin.get(VERSIONS).content.decode()
    assert "Deprecated" in page
    assert f"{SCHEDULES}{schedule.pk}/change/" in page
    assert f"{SCHEDULES}add/?subject=v2" in page
    assert "Sunset" not in page
    monkeypatch.setattr(clock, "now", lambda: schedule.sunset_at)
    assert "Sunset" in admin.get(VERSIONS).content.decode()


def test_a_version_is_added_for_a_file_that_has_no_row(admin: Client) -> None:
    assert admin.get(f"{VERSIONS}add/").status_code == 403  # every file has its row
    ApiVersion.objects.get(name="v1.1").delete()
    catalogue.forget()
    page = admin.get(f"{VERSIONS}add/")
    assert list(page.context["adminform"].form.fields["name"].choices) == [("v1.1", "v1.1")]
    fields = {"released_at_0": "2026-11-08", "released_at_1": "00:00:00", "summary": "Which version answered."}
    assert "name" in errors(admin.post(f"{VERSIONS}add/", {"name": "v9", **fields}))
    assert not ApiVersion.objects.filter(name="v9").exists()
    assert admin.post(f"{VERSIONS}add/", {"name": "v1.1", **fields}).status_code == 302
    assert list(catalogue.current().api_versions) == ["v1", "v1.1", "v2"]


def test_what_is_released_is_no_preview_again(admin: Client) -> None:
    row = ApiVersion.objects.get(name="v2")
    later = split("released_at", clock.now() + DAY)
    for moment in (later, {"released_at_0": "", "released_at_1": ""}):
        found = errors(admin.post(f"{VERSIONS}{row.pk}/change/", {**moment, "summary": "x"}))
        assert "cannot be a preview again" in found["released_at"][0]
    assert ApiVersion.objects.get(name="v2").released_at == row.released_at
    earlier = split("released_at", dt.datetime(2026, 11, 1, tzinfo=dt.UTC))
    assert admin.post(f"{VERSIONS}{row.pk}/change/", {**earlier, "summary": "New."}).status_code == 302
    assert catalogue.current().api_versions["v2"].summary == "New."


def test_nobody_deletes_a_version_or_a_schedule(admin: Client) -> None:
    schedule, version = make_schedule(), ApiVersion.objects.get(name="v1")
    for page in (f"{VERSIONS}{version.pk}/delete/", f"{SCHEDULES}{schedule.pk}/delete/"):
        assert admin.post(page, {"post": "yes"}).status_code == 403
    assert ApiVersion.objects.count() == 3
    assert DeprecationSchedule.objects.count() == 1


# --- Schedules ---------------------------------------------------------------------------------------------------------


def test_the_form_comes_filled(admin: Client) -> None:
    make_versions()
    page = admin.get(f"{SCHEDULES}add/?subject=v1")
    given = page.context["adminform"].form
    start = given.get_initial_for_field(given.fields["announce_at"], "announce_at")
    assert start <= clock.now()
    initial = page.context["adminform"].form.initial
    assert (initial["subject"], initial["successor"]) == ("v1", "v2")
    assert initial["deprecate_at"] - initial["announce_at"] == 30 * DAY
    assert initial["sunset_at"] - initial["deprecate_at"] == 183 * DAY
    assert "[[changes]]" in initial["guide"]
    groups = dict(given.fields["subject"].choices)
    assert groups["API versions"] == [("v1", "v1"), ("v1.1", "v1.1"), ("v2", "v2")]
    assert dict(groups["Model versions"]).keys() == {"sentiment@1.0.0", "sentiment@2.0.0"}
    assert admin.get(f"{SCHEDULES}add/?subject=nonsense").status_code == 200
    assert admin.get(f"{SCHEDULES}add/?subject=no@1.0.0").status_code == 200


def test_a_schedule_is_made_and_known_at_once(admin: Client) -> None:
    assert admin.post(f"{SCHEDULES}add/", form()).status_code == 302
    row = DeprecationSchedule.objects.get()
    assert (row.kind, row.subject, row.successor) == ("api_version", "v1", "v2")
    assert row.created_by is not None
    assert row.created_by.email == "ada@staff.example"
    known = catalogue.current().api_versions["v1"]
    assert known.state(at=row.deprecate_at) is State.DEPRECATED
    assert admin.get(SCHEDULES).status_code == 200


def test_a_model_version_is_scheduled_as_well(admin: Client) -> None:
    make_versions()
    found = errors(admin.post(f"{SCHEDULES}add/", form(subject="sentiment@2.0.0", successor="sentiment@1.0.0")))
    assert "is live" in found["subject"][0]
    assert DeprecationSchedule.objects.count() == 0
    fields = form(subject="sentiment@1.0.0", successor="sentiment@2.0.0")
    assert admin.post(f"{SCHEDULES}add/", fields).status_code == 302
    assert DeprecationSchedule.objects.get().kind == "model_version"
    assert "sentiment@1.0.0" in catalogue.current().models


def test_every_wrong_field_has_its_own_error(admin: Client) -> None:
    now = clock.now()
    found = errors(
        admin.post(
            f"{SCHEDULES}add/",
            form(
                subject="v2",
                successor="v2",
                reason=" ",
                **split("announce_at", now + 9 * DAY),
                **split("deprecate_at", now + 2 * DAY),
                **split("sunset_at", now - 5 * DAY),
            ),
        )
    )
    assert set(found) >= {"subject", "reason", "deprecate_at", "sunset_at"}
    assert "default" in found["subject"][0]
    assert DeprecationSchedule.objects.count() == 0


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"successor": "v1"}, "successor", "newer API version"),
        ({"successor": "v9"}, "successor", "not one of the available choices"),
        ({"successor": ""}, "successor", "required"),
        ({"subject": "v9"}, "subject", "not one of the available choices"),
        ({"sunset_at_0": "", "sunset_at_1": ""}, "sunset_at", "required"),
        (split("sunset_at", clock.now() + 60 * DAY), "short_notice_reason", "six months"),
        ({"guide": ""}, "guide", READ_THE_DRAFT),
    ],
)
def test_one_wrong_field_is_named(admin: Client, wrong: dict[str, str], field: str, words: str) -> None:
    found = errors(admin.post(f"{SCHEDULES}add/", form(**wrong)))
    assert set(found) - {"__all__"} == {field}
    assert words in found[field][0]
    assert DeprecationSchedule.objects.count() == 0


def test_less_than_six_months_need_a_reason(admin: Client) -> None:
    short = split("sunset_at", clock.now() + 60 * DAY)
    assert admin.post(f"{SCHEDULES}add/", form(**short, short_notice_reason="It leaks.")).status_code == 302


def test_an_empty_guide_is_answered_with_a_draft(admin: Client) -> None:
    page = admin.post(f"{SCHEDULES}add/", form(guide=""))
    text = page.context["adminform"].form["guide"].value()
    assert "[[samples]]" in text
    assert text in page.context["adminform"].form["guide"].as_widget().replace("&#x27;", "'").replace("&quot;", '"')
    assert admin.post(f"{SCHEDULES}add/", form(guide=text)).status_code == 302
    assert DeprecationSchedule.objects.get().guide == text.strip()


def test_a_subject_has_one_end(admin: Client) -> None:
    schedule = make_schedule()
    assert "already" in errors(admin.post(f"{SCHEDULES}add/", form()))["subject"][0]
    assert DeprecationSchedule.objects.count() == 1
    schedules.cancel(schedule)
    assert admin.post(f"{SCHEDULES}add/", form()).status_code == 302


def test_what_has_come_to_pass_stays(admin: Client) -> None:
    schedule = make_schedule()
    page = f"{SCHEDULES}{schedule.pk}/change/"
    moved = split("deprecate_at", clock.now() + DAY)
    found = errors(admin.post(page, change_form(schedule, **moved)))
    assert "cannot be undone" in found["deprecate_at"][0]
    past = split("sunset_at", clock.now() - dt.timedelta(minutes=1))
    assert "every call" in errors(admin.post(page, change_form(schedule, **past)))["sunset_at"][0]
    assert DeprecationSchedule.objects.get().deprecate_at == schedule.deprecate_at
    assert DeprecationSchedule.objects.get().sunset_at == schedule.sunset_at


def test_a_schedule_is_changed_and_its_subject_is_not(admin: Client) -> None:
    schedule = make_schedule(announce_at=whole(clock.now()), deprecate_at=whole(clock.now() + DAY))
    later = whole(clock.now() + 300 * DAY)
    fields = change_form(schedule, subject="v1.1", reason="Because.", **split("sunset_at", later))
    assert admin.post(f"{SCHEDULES}{schedule.pk}/change/", fields).status_code == 302
    row = DeprecationSchedule.objects.get()
    assert (row.subject, row.reason, row.sunset_at) == ("v1", "Because.", later)
    known = catalogue.current().api_versions["v1"].schedule
    assert known is not None
    assert known.sunset_at == later


def test_calling_it_off_asks_first(admin: Client) -> None:
    schedule = make_schedule()
    page = f"{SCHEDULES}{schedule.pk}/cancel/"
    assert "write to them" in admin.get(page).content.decode()
    assert DeprecationSchedule.objects.get().canceled_at is None
    answer = admin.post(page, {"confirmed": "yes"}, follow=True)
    assert staff.said(answer) == ["The end of v1 is called off."]
    assert DeprecationSchedule.objects.get().canceled_at is not None
    assert catalogue.current().api_versions["v1"].schedule is None
    assert admin.get(page).status_code == 404
    assert admin.post(f"{SCHEDULES}{schedule.pk}/change/", change_form(schedule)).status_code == 403


def test_an_end_that_came_is_not_called_off(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = make_schedule()
    monkeypatch.setattr(clock, "now", lambda: schedule.sunset_at)
    answer = admin.post(f"{SCHEDULES}{schedule.pk}/cancel/", {"confirmed": "yes"}, follow=True)
    assert "has ended" in staff.said(answer)[0]
    assert DeprecationSchedule.objects.get().canceled_at is None


# --- Brownouts and extensions ------------------------------------------------------------------------------------------


def inline(prefix: str, **fields: str) -> dict[str, str]:
    """One new row of an inline."""
    return {f"{prefix}-TOTAL_FORMS": "1", **{f"{prefix}-0-{name}": value for name, value in fields.items()}}


def brownout_fields(starts: dt.datetime, ends: dt.datetime, share: str = "25") -> dict[str, str]:
    return {**split("starts_at", starts), **split("ends_at", ends), "share": share}


def test_a_brownout_is_planned_below_the_form(admin: Client) -> None:
    schedule = make_schedule()
    starts = whole(clock.now() + DAY)
    row = inline("brownouts", **brownout_fields(starts, starts + DAY / 24))
    assert admin.post(f"{SCHEDULES}{schedule.pk}/change/", change_form(schedule, **row)).status_code == 302
    planned = Brownout.objects.get()
    assert (planned.starts_at, planned.share, planned.tenant) == (starts, 25, None)
    assert planned.created_by is not None
    known = catalogue.current().api_versions["v1"].schedule
    assert known is not None
    assert [window.share for window in known.brownouts] == [25]


@pytest.mark.parametrize(
    ("starts_in", "ends_in", "field"), [(-DAY, DAY, "starts_at"), (DAY, DAY, "ends_at"), (DAY, 201 * DAY, "ends_at")]
)
def test_a_wrong_brownout_is_named_and_nothing_is_saved(
    admin: Client, starts_in: dt.timedelta, ends_in: dt.timedelta, field: str
) -> None:
    schedule, now = make_schedule(), clock.now()
    row = inline("brownouts", **brownout_fields(now + starts_in, now + ends_in))
    page = admin.post(f"{SCHEDULES}{schedule.pk}/change/", change_form(schedule, reason="New.", **row))
    formset = page.context["inline_admin_formsets"][0].formset
    assert list(formset.errors[0]) == [field]
    assert Brownout.objects.count() == 0
    assert DeprecationSchedule.objects.get().reason == "v2 says more."


def test_a_brownout_is_checked_against_the_dates_of_the_same_form(admin: Client) -> None:
    schedule = make_schedule(sunset_at=whole(clock.now() + 300 * DAY))
    starts = clock.now() + 250 * DAY
    row = inline("brownouts", **brownout_fields(starts, starts + DAY / 24))
    sooner = split("sunset_at", clock.now() + 240 * DAY)
    page = admin.post(f"{SCHEDULES}{schedule.pk}/change/", change_form(schedule, **row, **sooner))
    assert "before the sunset" in str(page.context["inline_admin_formsets"][0].formset.errors)
    assert Brownout.objects.count() == 0
    assert DeprecationSchedule.objects.get().sunset_at == schedule.sunset_at


def test_an_extension_names_who_approved_it(admin: Client, acme: Customer) -> None:
    schedule = make_schedule()
    until = whole(schedule.sunset_at + DAY)
    page = f"{SCHEDULES}{schedule.pk}/change/"
    early = inline("extensions", tenant=str(acme.tenant.pk), reason="So.", **split("until", until - 2 * DAY))
    refused = admin.post(page, change_form(schedule, **early))
    assert list(refused.context["inline_admin_formsets"][1].formset.errors[0]) == ["until"]
    assert Extension.objects.count() == 0
    row = inline("extensions", tenant=str(acme.tenant.pk), reason="Audit.", **split("until", until))
    assert admin.post(page, change_form(schedule, **row)).status_code == 302
    granted = Extension.objects.get()
    assert granted.approved_by is not None
    assert (granted.until, granted.approved_by.email) == (until, "ada@staff.example")
    known = catalogue.current().api_versions["v1"]
    assert known.state(at=schedule.sunset_at, tenant_id=acme.tenant.pk) is State.DEPRECATED


def test_rehearsals_of_tenants_are_only_read(admin: Client, acme: Customer) -> None:
    schedule = make_schedule()
    row = schedules.rehearse_brownout(schedule_id=schedule.pk, tenant=acme.tenant, minutes=10, share=50)
    assert "Acme" in admin.get(f"{SCHEDULES}{schedule.pk}/change/").content.decode()
    changed = {
        "brownouts-2-TOTAL_FORMS": "1", "brownouts-2-INITIAL_FORMS": "1", "brownouts-2-0-id": str(row.pk),
        "brownouts-2-0-share": "99",
    }  # fmt: skip
    admin.post(f"{SCHEDULES}{schedule.pk}/change/", change_form(schedule, **changed))
    assert Brownout.objects.get().share == 50


def test_a_brownout_is_planned_and_called_off_on_pages_of_their_own(admin: Client) -> None:
    schedule = make_schedule()
    page = f"{SCHEDULES}{schedule.pk}/brownout/"
    usual = admin.get(page).context["form"]["starts_at"].value()
    assert usual.replace(tzinfo=dt.UTC) > clock.now()
    starts = whole(clock.now() + DAY).replace(second=0)
    fields = {"starts_at": f"{starts:%Y-%m-%dT%H:%M}", "minutes": "90", "share": "10"}
    late = {**fields, "minutes": "10000", "starts_at": f"{schedule.sunset_at - DAY:%Y-%m-%dT%H:%M}"}
    assert list(admin.post(page, late).context["form"].errors) == ["minutes"]
    assert list(admin.post(page, {**fields, "share": "0"}).context["form"].errors) == ["share"]
    assert Brownout.objects.count() == 0
    answer = admin.post(page, fields, follow=True)
    assert answer.redirect_chain[-1][0] == f"{SCHEDULES}{schedule.pk}/impact/"
    row = Brownout.objects.get()
    assert (row.starts_at, row.ends_at - row.starts_at, row.share) == (starts, dt.timedelta(minutes=90), 10)
    stop = f"{SCHEDULES}{schedule.pk}/stop-brownout/{row.pk}/"
    assert stop in admin.get(f"{SCHEDULES}{schedule.pk}/change/").content.decode()
    admin.get(stop)
    assert Brownout.objects.get().ends_at == row.ends_at
    admin.post(stop, {"confirmed": "yes"})
    assert Brownout.objects.get().ends_at == starts  # it never begins


def test_a_brownout_that_is_over_stays_as_it_was(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = make_schedule()
    starts = whole(clock.now() + DAY)
    row = schedules.plan_brownout(schedule=schedule, starts_at=starts, ends_at=starts + DAY, share=10, by=None)
    monkeypatch.setattr(clock, "now", lambda: starts + 2 * DAY)
    fields = {
        "brownouts-TOTAL_FORMS": "1", "brownouts-INITIAL_FORMS": "1", "brownouts-0-id": str(row.pk),
        "brownouts-0-schedule": str(schedule.pk),
        **{f"brownouts-0-{name}": value for name, value in brownout_fields(starts, starts + 3 * DAY).items()},
    }  # fmt: skip
    page = admin.post(f"{SCHEDULES}{schedule.pk}/change/", change_form(schedule, **fields))
    assert "stays as it was" in str(page.context["inline_admin_formsets"][0].formset.errors)
    assert Brownout.objects.get().ends_at == starts + DAY


def test_an_extension_is_granted_and_changed_on_a_page_of_its_own(admin: Client, acme: Customer) -> None:
    schedule = make_schedule()
    page = f"{SCHEDULES}{schedule.pk}/extension/{acme.tenant.pk}/"
    until = (schedule.sunset_at + 30 * DAY).replace(second=0, microsecond=0)
    early = {"until": f"{schedule.sunset_at - DAY:%Y-%m-%dT%H:%M}", "reason": "So."}
    assert list(admin.post(page, early).context["form"].errors) == ["until"]
    assert Extension.objects.count() == 0
    answer = admin.post(page, {"until": f"{until:%Y-%m-%dT%H:%M}", "reason": "Audit."}, follow=True)
    assert staff.said(answer) == [f"Acme may use v1 until {dates.moment(until)}."]
    later = until + DAY
    admin.post(page, {"until": f"{later:%Y-%m-%dT%H:%M}", "reason": "Audit again."})
    row = Extension.objects.get()
    assert (row.until, row.reason) == (later, "Audit again.")
