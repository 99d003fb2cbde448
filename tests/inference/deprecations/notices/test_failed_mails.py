"""Mails that fail, tasks that are lost, SQL that is away: what was due is told later, and once."""

import smtplib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.db import OperationalError, connection, connections
from prometheus_client import REGISTRY

from inference.deprecations.notices import letters
from inference.deprecations.notices import sending as notices
from inference.models import Notice
from mlplatform.celery import app
from mlplatform.lib.enqueue import enqueue as real_enqueue
from tenants.models import Event
from tests.conftest import Customer
from tests.inference.deprecations.notices.telling import (
    DAY,
    MINUTE,
    NOW,
    deliver,
    told,
    used,
    v1_ends,
)
from tests.mlplatform.lib.test_enqueue import sent
from tests.support.walked_clock import Walk, published_at_once, walk

__all__ = ["published_at_once", "walk"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("published_at_once", "tasks")]


SUNSET = NOW + 230 * DAY


def failed_notices() -> float:
    return REGISTRY.get_sample_value("mlplatform_notices_total", {"outcome": "failed"}) or 0.0


def test_a_mail_that_fails_is_tried_again_ever_later(
    acme: Customer, walk: Walk, tasks: list[dict[str, Any]], broken_mail: list[Exception]
) -> None:
    walk(NOW)
    v1_ends()
    notices.tell()
    before = failed_notices()
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
    assert failed_notices() == before + len(tries)
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
