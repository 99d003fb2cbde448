"""Everybody is told what concerns them, once, in time or late, and by a mail that says what to do."""

import datetime as dt
import smtplib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import OperationalError, connection, connections
from pytest_django import Settings

from inference.deprecations.notices import letters
from inference.deprecations.notices import sending as notices
from inference.deprecations.samples import store as samples
from inference.models import CallSample, Notice
from mlplatform.celery import app
from mlplatform.lib.enqueue import enqueue as real_enqueue
from mlplatform.lib.errors import PlatformError
from tenants import tenancy
from tenants.deprecations import catalogue, schedules
from tenants.models import DeprecationSchedule, Event, Membership, Role, User
from tests.conftest import Customer, make_customer
from tests.inference.deprecations.notices.telling import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    answer,
    caller_of,
    tiny_ends,
    used,
    v1_ends,
)
from tests.mlplatform.lib.test_enqueue import sent
from tests.support.tiny_model import make_version
from tests.support.walked_clock import Walk, published_at_once, walk

__all__ = ["published_at_once", "walk"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("published_at_once")]

SUNSET = NOW + 230 * DAY


@pytest.fixture(autouse=True)
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was enqueued, in order; nobody runs it but :func:`deliver`."""
    sent: list[dict[str, Any]] = []

    def enqueue(task: str, /, **kwargs: Any) -> None:
        assert task == "inference.send_notice"
        sent.append(kwargs)

    monkeypatch.setattr(notices, "enqueue", enqueue)
    return sent


@pytest.fixture
def broken_mail(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """While an exception lies in the list, the mail server raises it."""
    errors: list[Exception] = []
    works = EmailBackend.send_messages

    def send(self: EmailBackend, messages: Any) -> int:
        if errors:
            raise errors[0]
        return works(self, messages)

    monkeypatch.setattr(EmailBackend, "send_messages", send)
    return errors


def deliver(tasks: list[dict[str, Any]]) -> int:
    """Run what waits; the number of mails that went out."""
    waiting, tasks[:] = list(tasks), []
    return sum(notices.send(**task) for task in waiting)


def told(customer: Customer) -> list[str]:
    return list(
        Notice.objects.filter(tenant=customer.tenant).order_by("created_at", "pk").values_list("moment", flat=True)
    )


def event_types(customer: Customer) -> list[str]:
    rows = Event.objects.filter(tenant=customer.tenant).order_by("occurred_at", "id")
    return list(rows.values_list("type", flat=True))


# --- Who is told what, and when ----------------------------------------------------------------------------------------


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


def test_nobody_is_told_twice(acme: Customer, walk: Walk, tasks: list[dict[str, Any]]) -> None:
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
    assert "This is your own end: everybody else's is 22 August 2027" in notice.text
    last = Event.objects.filter(tenant=acme.tenant).latest("occurred_at")
    assert last.data["sunset_at"] == until.isoformat()
    walk(until)
    assert notices.tell() == 0


def test_a_schedule_that_is_not_public_or_was_canceled_is_told_to_nobody(
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


# --- Recipients --------------------------------------------------------------------------------------------------------


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


# --- Failures ----------------------------------------------------------------------------------------------------------


def test_a_mail_that_fails_is_tried_again_ever_later(
    acme: Customer, walk: Walk, tasks: list[dict[str, Any]], broken_mail: list[Exception]
) -> None:
    walk(NOW)
    v1_ends()
    notices.tell()
    before = notices._notices.labels("failed")._value.get()
    broken_mail.append(smtplib.SMTPServerDisconnected("no mail today"))
    tries: list[float] = []
    moment = NOW
    while moment < NOW + 6 * DAY:
        walk(moment)
        notices.tell()
        attempts = Notice.objects.get().attempts
        assert deliver(tasks) == 0
        if Notice.objects.get().attempts > attempts:
            tries.append((moment - NOW) / MINUTE)
        moment += MINUTE * (5 if moment < NOW + 80 * MINUTE else 40)
    assert tries[:6] == [0, 5, 20, 80, 320, 680]
    assert tries[-1] <= 5 * 24 * 60
    notice = Notice.objects.get()
    assert notice.error.startswith("Given up after 5 days. SMTPServerDisconnected: no mail today")
    assert (notice.sent_at, notice.next_try_at, notice.attempts) == (None, None, len(tries))
    assert notices._notices.labels("failed")._value.get() == before + len(tries)
    assert Event.objects.count() == 1, "programs were told once all the same"


def test_a_mail_server_that_comes_back_gets_the_mail_once(
    acme: Customer, walk: Walk, tasks: list[dict[str, Any]], broken_mail: list[Exception]
) -> None:
    walk(NOW)
    v1_ends()
    notices.tell()
    broken_mail.append(OSError("away"))
    assert deliver(tasks) == 0
    assert Notice.objects.get().error == "OSError: away"
    broken_mail.clear()
    walk(NOW + 5 * MINUTE)
    notices.tell()
    assert deliver(tasks) == 1
    walk(NOW + DAY)
    notices.tell()
    assert deliver(tasks) == 0
    assert len(mail.outbox) == 1
    notice = Notice.objects.get()
    assert (notice.sent_at, notice.error, notice.attempts) == (NOW + 5 * MINUTE, "", 2)


def test_a_task_that_was_lost_is_sent_again(acme: Customer, walk: Walk, tasks: list[dict[str, Any]]) -> None:
    walk(NOW)
    v1_ends()
    notices.tell()
    tasks.clear()
    walk(NOW + MINUTE)
    notices.tell()
    assert tasks == []
    walk(NOW + 5 * MINUTE)
    notices.tell()
    notices.tell()
    assert len(tasks) == 1, "once in five minutes, however long the queue stands still"
    assert deliver(tasks) == 1


def test_a_countdown_is_not_mailed_after_the_end(
    acme: Customer, walk: Walk, tasks: list[dict[str, Any]], broken_mail: list[Exception]
) -> None:
    walk(SUNSET - DAY)
    v1_ends()
    used(acme)
    broken_mail.append(OSError("away"))
    notices.tell()
    deliver(tasks)
    broken_mail.clear()
    walk(SUNSET)
    notices.tell()
    assert deliver(tasks) == 0
    assert mail.outbox == []


def test_while_sql_is_away_nothing_is_told_by_half(acme: Customer, walk: Walk, tasks: list[dict[str, Any]]) -> None:
    walk(NOW)
    v1_ends()

    def no_events(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if "INSERT" in sql and "tenants_event" in sql:
            raise OperationalError("no such server")
        return execute(sql, *rest)

    with connection.execute_wrapper(no_events), pytest.raises(OperationalError):
        notices.tell()
    assert (Notice.objects.count(), Event.objects.count(), tasks) == (0, 0, [])
    assert notices.tell() == 1
    assert (Notice.objects.count(), Event.objects.count(), len(tasks)) == (1, 1, 1)


def test_what_is_wrong_with_one_tenant_does_not_keep_others_from_being_told(
    acme: Customer, globex: Customer, walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk(NOW)
    v1_ends()
    works = letters.compose

    def compose(**kwargs: Any) -> Any:
        if kwargs["tenant"] == acme.tenant:
            raise ValueError("a strange tenant")
        return works(**kwargs)

    monkeypatch.setattr(letters, "compose", compose)
    assert notices.tell() == 1
    assert (told(acme), told(globex)) == ([], ["announcement"])
    monkeypatch.setattr(letters, "compose", works)
    assert notices.tell() == 1
    assert told(acme) == ["announcement"]


@pytest.mark.django_db(transaction=True)
def test_two_tasks_at_once_send_one_mail(acme: Customer, walk: Walk, tasks: list[dict[str, Any]]) -> None:
    walk(NOW)
    v1_ends()
    start = threading.Barrier(2)
    results: list[Any] = []

    def at_once(work: Callable[[], Any]) -> None:
        def run() -> None:
            start.wait(10)
            try:
                results.append(work())
            finally:
                connections.close_all()

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    at_once(notices.tell)
    assert sum(results) == Notice.objects.count() == Event.objects.count() == len(tasks) == 1
    results.clear()
    at_once(lambda: notices.send(**tasks[0]))
    assert sorted(results) == [False, True]
    assert len(mail.outbox) == 1


@pytest.mark.django_db(transaction=True)
def test_the_task_that_beat_starts_enqueues_the_one_that_sends(
    acme: Customer, walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "enqueue", real_enqueue)
    walk(NOW)
    v1_ends()
    app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert {"inference.tell_deprecations", "inference.purge_samples"} <= scheduled
    assert scheduled <= set(app.tasks)
    app.tasks["inference.tell_deprecations"].run()
    ((task, kwargs),) = sent("jobs")
    app.tasks[task].run(**kwargs)
    assert [message.to for message in mail.outbox] == [[acme.owner.email]]


# --- Words -------------------------------------------------------------------------------------------------------------


def sampled(customer: Customer, row: DeprecationSchedule, text: str) -> None:
    samples.offer(
        schedule=catalogue.frozen(row),
        caller=caller_of(customer),
        api_version="v1",
        model="tiny",
        body={"model": "tiny", "input": text},
        answer=answer(),
    )
    samples.flush()


def test_the_mail_says_what_to_do(acme: Customer, walk: Walk, tasks: list[dict[str, Any]], settings: Settings) -> None:
    settings.BASE_URL = "https://ml.example"
    walk(NOW)
    make_version()
    row = v1_ends()
    start = NOW + 100 * DAY
    schedules.plan_brownout(schedule=row, starts_at=start, ends_at=start + 10 * MINUTE, share=50, by=None)
    used(acme, calls=1234)
    sampled(acme, row, "Ms. Miller is furious")
    notices.tell()
    deliver(tasks)
    (came,) = mail.outbox
    assert isinstance(came, mail.EmailMultiAlternatives)
    ((html, kind),) = came.alternatives
    assert kind == "text/html"
    for form in (str(came.body), str(html)):
        for words in (
            "Hello Acme", "22 August 2027, 09:00", "v2 tells every label", "1,234 times", "Production",
            "https://ml.example/docs/migrate/v1-v2", "https://ml.example/v1/predict", "https://ml.example/v2/predict",
            "$MLPLATFORM_API_KEY", "410 Gone", "14 April 2027, 09:00", f"/v2/deprecations/{row.pk}/rehearsal",
            "What a wonderful morning!", "opt in",
        ):  # fmt: skip
            assert words in form, words
        assert "Miller" not in form
        assert acme.secret not in form
    assert "\n\n\n" not in str(came.body)
    assert came.extra_headers["Message-ID"] == f"<notice-{Notice.objects.get().pk}@localhost>"


def test_who_does_not_use_it_has_nothing_to_do(acme: Customer, walk: Walk, tasks: list[dict[str, Any]]) -> None:
    walk(NOW)
    v1_ends()
    notices.tell()
    deliver(tasks)
    body = str(mail.outbox[0].body)
    assert "nothing that you must do" in body
    assert "curl" not in body
    assert "rehearsal" not in body


def test_own_words_go_into_the_mail_but_not_into_the_row(
    acme: Customer, walk: Walk, tasks: list[dict[str, Any]]
) -> None:
    walk(NOW)
    make_version()
    row = v1_ends()
    samples.opt_in(tenant=acme.tenant)
    used(acme)
    sampled(acme, row, "<b>Ms. Miller</b> is furious")
    notices.tell()
    deliver(tasks)
    (came,) = mail.outbox
    assert isinstance(came, mail.EmailMultiAlternatives)
    assert "<b>Ms. Miller</b> is furious" in str(came.body)
    assert "&lt;b&gt;Ms. Miller&lt;/b&gt;" in str(came.alternatives[0][0])
    assert "<b>" not in str(came.alternatives[0][0])
    notice = Notice.objects.get()
    assert "Miller" not in notice.text + notice.html
    assert CallSample.objects.get().whole


def test_a_late_mail_counts_the_days_anew(acme: Customer, walk: Walk, tasks: list[dict[str, Any]]) -> None:
    walk(SUNSET - 7 * DAY)
    v1_ends()
    used(acme)
    notices.tell()
    walk(SUNSET - 4 * DAY)
    deliver(tasks)
    assert "API version v1 ends in 4 days, on 22 August 2027" in [sent.subject for sent in mail.outbox]


def test_time_that_is_left_is_said_to_the_nearest() -> None:
    said = [letters.left(time) for time in (90 * DAY - MINUTE, 36 * HOUR, DAY - MINUTE, 5 * HOUR, HOUR, MINUTE)]
    assert said == ["in 90 days", "in 2 days", "in 1 day", "in 5 hours", "in 1 hour", "in 1 hour"]


# --- Messages by staff ---------------------------------------------------------------------------------------------------


def test_staff_write_to_just_these_tenants(
    acme: Customer, globex: Customer, walk: Walk, tasks: list[dict[str, Any]]
) -> None:
    walk(NOW)
    row = v1_ends()
    by = User.objects.create_user("staff@platform.example", full_name="Sam Staff", is_staff=True)
    given = {"schedule": row, "tenant_ids": [acme.tenant.pk, 999_999], "by": by}
    assert notices.message(subject="Do you\nneed help?", text="We saw\n\nyour <calls>.", **given) == 1  # type: ignore[arg-type]
    deliver(tasks)
    (came,) = mail.outbox
    assert isinstance(came, mail.EmailMultiAlternatives)
    assert (came.subject, came.to) == ("Do you need help?", [acme.owner.email])
    assert "your <calls>." in str(came.body)
    assert "your &lt;calls&gt;." in str(came.alternatives[0][0])
    assert "Sam Staff" in str(came.body)
    assert event_types(acme) == ["api_version.message_sent"]
    assert told(globex) == event_types(globex) == []
    assert notices.message(subject="Do you need help?", text="Again.", **given) == 1  # type: ignore[arg-type]
    assert {tenant: len(rows) for tenant, rows in notices.told(schedule_id=row.pk).items()} == {acme.tenant.pk: 2}


@pytest.mark.parametrize(
    ("subject", "text", "field"),
    [("  ", "Hello", "subject"), ("x" * 201, "Hello", "subject"), ("Hello", " \n", "text")],
)
def test_an_empty_message_goes_nowhere(
    acme: Customer, walk: Walk, tasks: list[dict[str, Any]], subject: str, text: str, field: str
) -> None:
    walk(NOW)
    row = v1_ends()
    with pytest.raises(PlatformError) as refused:
        notices.message(schedule=row, tenant_ids=[acme.tenant.pk], subject=subject, text=text, by=None)
    assert refused.value.field == field
    assert (Notice.objects.count(), Event.objects.count(), tasks) == (0, 0, [])
