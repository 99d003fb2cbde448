"""Each tenant is told what concerns it, once, in time or late."""

import datetime as dt
from typing import Any

import pytest
from django.core import mail
from pytest_django import Settings

from inference.deprecations.notices import sending as notices
from inference.models import Notice
from tenants import tenancy
from tenants.deprecations import schedules
from tenants.models import Event, Membership, Role, User
from tests.conftest import Customer, make_customer
from tests.inference.deprecations.notices.telling import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    deliver,
    event_types,
    tiny_ends,
    told,
    used,
    v1_ends,
)
from tests.support.walked_clock import Walk, published_at_once, walk

__all__ = ["published_at_once", "walk"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("published_at_once", "tasks")]


SUNSET = NOW + 230 * DAY


def test_from_announcement_to_sunset(acme: Customer, globex: Customer, walk: Walk, tasks: list[dict[str, Any]]) -> None:
    walk(NOW - 10 * DAY)
    row = v1_ends()
    start = NOW + 100 * DAY
    schedules.plan_brownout(schedule=row, starts_at=start, ends_at=start + 10 * MINUTE, share=50, by=None)
    when: dict[str, dt.datetime] = {}
    moment = NOW - 2 * DAY
    while moment < SUNSET + 40 * DAY:
        walk(moment)
        used(acme)
        before = told(acme)
        notices.tell()
        deliver(tasks)
        for name in told(acme)[len(before) :]:
            when[name] = moment
        moment += 12 * HOUR
    brownout = row.brownouts.get().pk
    assert when == {
        "announcement": NOW,
        f"brownout:{brownout}": start - DAY,
        "90d": SUNSET - 90 * DAY,
        "30d": SUNSET - 30 * DAY,
        "7d": SUNSET - 7 * DAY,
        "1d": SUNSET - DAY,
    }
    assert event_types(acme) == [
        "api_version.deprecated",
        "api_version.brownout_planned",
        *["api_version.sunset_scheduled"] * 4,
    ]
    assert told(globex) == ["announcement"], "who does not use it hears of it once"
    assert event_types(globex) == ["api_version.deprecated"]
    subjects = [sent.subject for sent in mail.outbox if sent.to == [acme.owner.email]]
    assert subjects == [
        "API version v1 ends on 22 August 2027",
        "API version v1: brownout on 14 April 2027, 09:00 to 09:10 UTC",
        "API version v1 ends in 90 days, on 22 August 2027",
        "API version v1 ends in 30 days, on 22 August 2027",
        "API version v1 ends in 7 days, on 22 August 2027",
        "API version v1 ends in 1 day, on 22 August 2027",
    ]
    assert len(mail.outbox) == 7
    assert all(notice.sent_at and not notice.error for notice in Notice.objects.all())


def test_no_tenant_is_told_twice(acme: Customer, walk: Walk, tasks: list[dict[str, Any]]) -> None:
    walk(NOW)
    v1_ends()
    assert (notices.tell(), notices.tell()) == (1, 0)
    (task,) = tasks
    assert [notices.send(**task), notices.send(**task)] == [True, False]
    assert len(mail.outbox) == Event.objects.count() == 1


def test_while_beat_was_down_only_the_newest_of_a_countdown_matters(acme: Customer, walk: Walk) -> None:
    walk(NOW)
    v1_ends()
    used(acme)
    notices.tell()
    walk(SUNSET - 20 * DAY)
    used(acme)
    assert notices.tell() == 1
    assert told(acme) == ["announcement", "30d"]
    assert "ends in 20 days" in Notice.objects.get(moment="30d").subject
    walk(SUNSET + DAY)
    used(acme)
    assert notices.tell() == 0


def test_only_users_where_staff_say_so(acme: Customer, globex: Customer, walk: Walk) -> None:
    walk(NOW)
    v1_ends(audience="users")
    used(acme)
    assert notices.tell() == 1
    assert (told(acme), told(globex)) == (["announcement"], [])
    walk(NOW + DAY)
    used(globex)
    notices.tell()
    assert told(globex) == ["announcement"], "who begins to use it is told then"


def test_others_are_told_if_they_are_active_and_were_there(acme: Customer, globex: Customer, walk: Walk) -> None:
    tenancy.suspend(tenant=globex.tenant)
    walk(NOW)
    row = v1_ends()
    late = make_customer("late")
    type(late.tenant).objects.filter(pk=late.tenant.pk).update(created_at=max(NOW, row.created_at) + MINUTE)
    notices.tell()
    assert (told(acme), told(globex), told(late)) == (["announcement"], [], [])


def test_use_that_is_thirty_days_old_is_over(acme: Customer, walk: Walk) -> None:
    walk(SUNSET - 90 * DAY - 31 * DAY)
    v1_ends()
    used(acme)
    walk(SUNSET - 90 * DAY)
    notices.tell()
    assert told(acme) == ["announcement"]


def test_an_extension_moves_the_countdown(acme: Customer, globex: Customer, walk: Walk) -> None:
    walk(NOW)
    row = v1_ends()
    notices.tell()
    until = SUNSET + 60 * DAY
    schedules.grant_extension(
        schedule=row, tenant=acme.tenant, until=until, reason="A long release.", approved_by=acme.owner
    )
    walk(SUNSET - DAY)
    used(acme)
    used(globex)
    notices.tell()
    assert told(globex) == ["announcement", "1d"]
    assert told(acme) == ["announcement", "90d:2027-10-21"]
    walk(until - DAY)
    used(acme)
    used(globex)
    notices.tell()
    assert told(globex)[2:] == []
    assert told(acme)[2:] == ["1d:2027-10-21"]
    notice = Notice.objects.get(moment="1d:2027-10-21")
    assert "ends in 1 day, on 21 October 2027" in notice.subject
    assert "This is your own end: that of others is 22 August 2027" in notice.text
    last = Event.objects.filter(tenant=acme.tenant).latest("occurred_at")
    assert last.data["sunset_at"] == until.isoformat()
    walk(until)
    assert notices.tell() == 0


def test_a_schedule_that_is_not_public_or_was_canceled_is_not_told(
    acme: Customer, walk: Walk, tasks: list[dict[str, Any]]
) -> None:
    walk(NOW - MINUTE)
    row = v1_ends()
    used(acme)
    assert notices.tell() == 0
    walk(NOW)
    notices.tell()
    schedules.cancel(row)
    assert notices.tell() == 0
    assert deliver(tasks) == 0, "nor is a mail sent that was on its way"
    assert mail.outbox == []
    assert "canceled" in Notice.objects.get().error


def test_model_versions_are_told_alike(acme: Customer, walk: Walk, tasks: list[dict[str, Any]]) -> None:
    walk(NOW)
    tiny_ends()
    used(acme, api_version="v2")
    notices.tell()
    deliver(tasks)
    assert event_types(acme) == ["model_version.deprecated"]
    (came,) = mail.outbox
    assert came.subject == "Model version tiny@1.0.0 ends on 22 August 2027"
    assert "tiny@2.0.0" in came.body


def test_events_say_what_programs_need(acme: Customer, walk: Walk, settings: Settings) -> None:
    settings.BASE_URL = "https://ml.example"
    walk(NOW)
    row = v1_ends()
    notices.tell()
    event = Event.objects.get()
    assert event.data == {
        "deprecation_id": row.pk,
        "kind": "api_version",
        "subject": "v1",
        "successor": "v2",
        "deprecated_at": row.deprecate_at.isoformat(),
        "sunset_at": row.sunset_at.isoformat(),
        "guide": "https://ml.example/docs/migrate/v1-v2",
        "moment": "announcement",
    }
    assert event.occurred_at == NOW


def test_owners_and_admins_get_the_mail(acme: Customer, walk: Walk, tasks: list[dict[str, Any]]) -> None:
    for name, role, active in (
        ("admin", Role.ADMIN, True), ("gone", Role.ADMIN, False), ("dev", Role.DEVELOPER, True), ("bill", Role.BILLING, True),
    ):  # fmt: skip
        user = User.objects.create_user(f"{name}@acme.example", is_active=active)
        Membership.objects.create(tenant=acme.tenant, user=user, role=role)
    walk(NOW)
    v1_ends()
    notices.tell()
    deliver(tasks)
    assert [sent.to for sent in mail.outbox] == [["admin@acme.example", "owner@acme.example"]]


def test_a_tenant_without_people_is_recorded_and_does_not_loop(
    acme: Customer, walk: Walk, tasks: list[dict[str, Any]]
) -> None:
    Membership.objects.all().delete()
    walk(NOW)
    v1_ends()
    assert notices.tell() == 1
    for minutes in (10, 600):
        walk(NOW + minutes * MINUTE)
        assert notices.tell() == 0
    assert tasks == []
    assert (Notice.objects.get().recipients, event_types(acme)) == ([], ["api_version.deprecated"])
