"""When a key was last used: noted in memory, gathered, written now and then; no change that other processes see."""

import datetime as dt
import threading
from collections.abc import Iterator

import pytest
from auditlog.models import LogEntry
from django.conf import settings
from django.db import OperationalError

from mlplatform.lib import clock, redis
from tenants import last_used
from tenants.authentication import authenticate
from tenants.models import ApiKey
from tenants.tasks import flush_last_used
from tests.conftest import Customer
from tests.support.redis_server import RedisServer

HERE = "192.0.2.1"
NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def nothing_noted() -> Iterator[None]:
    last_used.gather()
    redis.state().flushall()
    yield
    last_used.gather()


def used_at(customer: Customer) -> dt.datetime | None:
    return ApiKey.objects.get(pk=customer.key.pk).last_used_at


def test_a_use_reaches_the_row_by_the_task_and_changes_nothing_else(
    acme: Customer, globex: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = LogEntry.objects.count()
    for second in range(3):
        monkeypatch.setattr(clock, "now", lambda second=second: NOON + dt.timedelta(seconds=second))
        authenticate(acme.secret, address=HERE)
    assert used_at(acme) is None, "a request writes nothing"
    last_used.gather()
    assert used_at(acme) is None
    assert flush_last_used() == 1
    assert used_at(acme) == NOON + dt.timedelta(seconds=2)
    assert used_at(globex) is None
    assert flush_last_used() == 0
    assert LogEntry.objects.count() == entries
    assert ApiKey.objects.get(pk=acme.key.pk).version == 1


def test_it_is_written_at_most_once_a_minute() -> None:
    (entry,) = (entry for entry in settings.CELERY_BEAT_SCHEDULE.values() if entry["task"] == "tenants.flush_last_used")
    every_s = entry["schedule"]
    assert isinstance(every_s, float)
    assert every_s >= 60


def test_an_older_note_that_comes_late_does_not_turn_the_row_back(
    acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for moment in (NOON, NOON - dt.timedelta(minutes=1)):
        monkeypatch.setattr(clock, "now", lambda moment=moment: moment)
        last_used.note(acme.key.uid)
        last_used.gather()
        last_used.flush()
    assert used_at(acme) == NOON


def test_while_redis_is_away_notes_are_kept(
    acme: Customer, state_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOON)
    last_used.note(acme.key.uid)
    state_redis.stop()
    last_used.gather()
    last_used.gather()
    state_redis.start()
    last_used.gather()
    last_used.flush()
    assert used_at(acme) == NOON


def test_when_sql_fails_nothing_that_was_gathered_is_lost(acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOON)
    last_used.note(acme.key.uid)
    last_used.gather()

    def locked(*args: object, **kwargs: object) -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as broken:
        broken.setattr(ApiKey.objects, "filter", locked)
        with pytest.raises(OperationalError):
            last_used.flush()
    assert last_used.flush() == 1
    assert used_at(acme) == NOON


def test_a_key_that_is_gone_is_no_obstacle(acme: Customer) -> None:
    last_used.note("key_gone")
    last_used.note(acme.key.uid)
    last_used.gather()
    assert last_used.flush() == 2
    assert used_at(acme) is not None


def test_notes_of_many_threads_meet_no_half_gathered_state() -> None:
    failures: list[BaseException] = []

    def note(thread: int) -> None:
        try:
            for number in range(500):
                last_used.note(f"key_{thread}_{number}")
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=note, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        last_used.gather()
    last_used.gather()
    assert failures == []
    assert redis.state().hlen("keys:last-used") == 2000
