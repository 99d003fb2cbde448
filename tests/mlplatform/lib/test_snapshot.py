"""A value in memory that follows its rows: at once where it was changed, within a tick in other processes."""

import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import transaction

from mlplatform.lib import clock
from mlplatform.lib.snapshot import MAX_AGE_S, Snapshot
from tests.support.redis_server import RedisServer


class Rows:
    """Stands for SQL: a number that all read, and how often it was read."""

    def __init__(self) -> None:
        self.value = 1
        self.reads = 0

    def load(self) -> int:
        self.reads += 1
        return self.value


@pytest.fixture
def rows() -> Rows:
    return Rows()


Process = Callable[[], Snapshot[int]]


@pytest.fixture
def process(rows: Rows) -> Iterator[Process]:
    """Makes the snapshot as a process of its own has it; its ticks end with the test."""
    made: list[Snapshot[int]] = []

    def make() -> Snapshot[int]:
        made.append(Snapshot("test", rows.load))
        return made[-1]

    yield make
    for snapshot in made:
        snapshot.forget()


@pytest.mark.django_db
def test_it_reads_once_until_its_generation_changes(rows: Rows, process: Process) -> None:
    mine = process()
    assert [mine.get() for _ in range(3)] == [1, 1, 1]
    mine.renew()
    assert rows.reads == 1


@pytest.mark.django_db(transaction=True)
def test_a_change_shows_at_once_here_and_at_the_next_tick_elsewhere(rows: Rows, process: Process) -> None:
    mine, other = process(), process()
    assert (mine.get(), other.get()) == (1, 1)
    rows.value = 2
    mine.publish()
    assert mine.get() == 2
    assert other.get() == 1
    other.renew()
    assert other.get() == 2
    mine.renew()
    other.renew()
    assert rows.reads == 4, "no process reads again without a change"


@pytest.mark.django_db(transaction=True)
def test_it_is_published_when_the_transaction_commits_and_not_when_it_is_rolled_back(
    rows: Rows, process: Process
) -> None:
    mine, other = process(), process()
    mine.get()
    other.get()
    rows.value = 2
    with transaction.atomic():
        mine.publish()
        assert mine.get() == 1
    assert mine.get() == 2
    other.renew()
    rows.value = 3
    with transaction.atomic():
        mine.publish()
        transaction.set_rollback(True)
    mine.renew()
    other.renew()
    assert (mine.get(), other.get()) == (2, 2)


@pytest.mark.django_db
def test_while_redis_is_away_every_tick_reads_the_rows(rows: Rows, process: Process, state_redis: RedisServer) -> None:
    mine = process()
    assert mine.get() == 1
    state_redis.stop()
    rows.value = 2
    mine.renew()
    assert mine.get() == 2
    fresh = process()
    assert fresh.get() == 2, "the first read needs no Redis"
    state_redis.start()
    rows.value = 3
    mine.renew()
    assert mine.get() in {2, 3}


@pytest.mark.django_db(transaction=True)
def test_a_change_that_could_not_be_published_is_found_in_bounded_time(
    rows: Rows,
    process: Process,
    state_redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mine, other = process(), process()
    mine.get()
    other.get()
    rows.value = 2
    state_redis.stop()
    mine.publish()
    assert "could not be published" in caplog.text
    state_redis.start()
    assert mine.get() == 2
    other.renew()
    assert other.get() == 1, "it never saw Redis away"
    start = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: start + MAX_AGE_S + 1)
    other.renew()
    assert other.get() == 2


@pytest.mark.django_db(transaction=True)
def test_readers_never_see_a_gap_while_changes_are_published(process: Process) -> None:
    mine = process()
    failures: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                assert mine.get() == 1
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(40):
        mine.publish()
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []


@pytest.mark.django_db
def test_forget_reads_anew(rows: Rows, process: Process) -> None:
    mine = process()
    mine.get()
    rows.value = 2
    mine.forget()
    assert mine.get() == 2
