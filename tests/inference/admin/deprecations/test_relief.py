"""Brownouts and extensions: planned with notice, read below the form of their schedule, changed on pages of their own."""

import datetime as dt

import pytest
from django.test import Client
from pytest_django import Settings

from mlplatform.lib import clock, dates
from tenants.deprecations import catalogue, schedules
from tenants.deprecations.rules import State
from tenants.models import Brownout, Extension
from tests.conftest import Customer
from tests.inference.admin.deprecations.schedule_fields import change_form, split, whole
from tests.support import staff
from tests.support.impacted import DAY, make_schedule

SCHEDULES = "/admin/tenants/deprecationschedule/"


def inline(prefix: str, **fields: str) -> dict[str, str]:
    """One new row of an inline."""
    return {f"{prefix}-TOTAL_FORMS": "1", **{f"{prefix}-0-{name}": value for name, value in fields.items()}}


def brownout(starts: dt.datetime, minutes: int = 60, **more: str) -> dict[str, str]:
    """The form of the page that plans one."""
    return {"starts_at": f"{starts:%Y-%m-%dT%H:%M}", "minutes": str(minutes), "share": "25", **more}


def test_a_brownout_is_planned_on_a_page_of_its_own(admin: Client) -> None:
    schedule = make_schedule()
    starts = whole(clock.now() + 2 * DAY).replace(second=0)
    answer = admin.post(f"{SCHEDULES}{schedule.pk}/brownout/", brownout(starts))
    assert (answer.status_code, answer["Location"]) == (302, f"{SCHEDULES}{schedule.pk}/impact/")
    planned = Brownout.objects.get()
    assert (planned.starts_at, planned.ends_at, planned.share) == (starts, starts + DAY / 24, 25)
    assert planned.created_by is not None
    known = catalogue.current().api_versions["v1"].schedule
    assert known is not None
    assert [window.share for window in known.brownouts] == [25]


@pytest.mark.parametrize(
    ("starts_in", "minutes", "field"), [(-DAY, 60, "starts_at"), (2 * DAY, 0, "minutes"), (200 * DAY, 1440, "minutes")]
)
def test_a_wrong_brownout_is_named_and_nothing_is_saved(
    admin: Client, starts_in: dt.timedelta, minutes: int, field: str
) -> None:
    schedule = make_schedule()
    page = admin.post(f"{SCHEDULES}{schedule.pk}/brownout/", brownout(clock.now() + starts_in, minutes))
    assert list(page.context["form"].errors) == [field]
    assert Brownout.objects.count() == 0


def test_a_brownout_with_little_notice_is_confirmed(admin: Client, settings: Settings) -> None:
    schedule = make_schedule()
    page, soon = f"{SCHEDULES}{schedule.pk}/brownout/", clock.now() + DAY / 2
    assert b"short_notice" not in admin.get(page).content
    asked = admin.post(page, brownout(soon))
    assert "less than 24 hours" in asked.context["form"].errors["short_notice"][0]
    assert 'name="short_notice"' in asked.content.decode()
    assert Brownout.objects.count() == 0
    assert admin.post(page, brownout(soon, short_notice="on")).status_code == 302
    settings.BROWNOUT_NOTICE_H = 3
    assert admin.post(page, brownout(soon + DAY / 8)).status_code == 302
    assert Brownout.objects.count() == 2


@pytest.mark.parametrize("hour", [3, 10, 22])
def test_what_is_suggested_needs_no_confirmation(admin: Client, hour: int, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = make_schedule()
    now = clock.now().replace(hour=hour, minute=30) + DAY
    monkeypatch.setattr(clock, "now", lambda: now)
    page = f"{SCHEDULES}{schedule.pk}/brownout/"
    start = admin.get(page).context["form"].initial["starts_at"]
    assert admin.post(page, brownout(start)).status_code == 302
    assert Brownout.objects.get().starts_at == start
    assert start - now < 2 * DAY


def test_no_brownout_begins_before_its_letter_can_leave(admin: Client) -> None:
    schedule = make_schedule()
    soon = clock.now() + dt.timedelta(minutes=14)
    page = admin.post(f"{SCHEDULES}{schedule.pk}/brownout/", brownout(soon, short_notice="on"))
    assert "15 minutes from now" in page.context["form"].errors["starts_at"][0]
    assert Brownout.objects.count() == 0


def test_brownouts_are_read_below_the_form_and_never_changed_there(admin: Client) -> None:
    schedule = make_schedule()
    starts = whole(clock.now() + 2 * DAY)
    row = schedules.plan_brownout(schedule=schedule, starts_at=starts, ends_at=starts + DAY, share=10, by=None)
    fields = {
        "brownouts-TOTAL_FORMS": "2", "brownouts-INITIAL_FORMS": "1", "brownouts-0-id": str(row.pk), "brownouts-0-share": "99",
        "brownouts-1-share": "99", **split("brownouts-1-starts_at", starts), **split("brownouts-1-ends_at", starts + DAY),
    }  # fmt: skip
    assert admin.post(f"{SCHEDULES}{schedule.pk}/change/", change_form(schedule, **fields)).status_code == 302
    assert Brownout.objects.get().share == 10


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
