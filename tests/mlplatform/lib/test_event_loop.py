"""The loop of a process: what threads ask of it is done on its thread, in order, and nothing there may wait for SQL."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection

from mlplatform.lib import event_loop
from tenants.models import Tenant
from tests.support.loops import leave_the_loop

WAIT_S = 30.0


@pytest.fixture
def threads() -> Iterator[list[threading.Thread]]:
    """Started by the test, and ended with it."""
    started: list[threading.Thread] = []
    yield started
    for thread in started:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def ident() -> int:
    return event_loop.call(threading.get_ident)


def test_one_thread_does_what_all_ask(threads: list[threading.Thread]) -> None:
    seen: list[int] = []
    for _ in range(8):
        threads.append(threading.Thread(target=lambda: seen.append(ident())))
        threads[-1].start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(seen) == 8
    assert set(seen) == {ident()}
    assert ident() != threading.get_ident()
    assert not event_loop.is_current()
    assert event_loop.call(event_loop.is_current)


def test_a_call_gives_what_its_work_returns_or_raises() -> None:
    assert event_loop.call(lambda: 7) == 7
    with pytest.raises(KeyError, match="lost"):
        event_loop.call(lose)
    with pytest.raises(SystemExit):
        event_loop.call(exit_now)
    assert event_loop.call(lambda: 8) == 8, "the loop goes on"


def lose() -> None:
    raise KeyError("lost")


def exit_now() -> None:
    raise SystemExit(3)


def test_on_its_own_thread_a_call_is_at_once_and_what_is_told_comes_after_it() -> None:
    order: list[str] = []

    def turn() -> None:
        event_loop.tell(order.append, "told")
        event_loop.call(lambda: order.append("called"))
        order.append("turn")

    event_loop.call(turn)
    event_loop.call(lambda: None)
    assert order == ["called", "turn", "told"]


def test_what_a_thread_tells_is_done_in_order_and_does_not_wait() -> None:
    gate, order = threading.Event(), list[int]()
    event_loop.tell(gate.wait, WAIT_S)
    for number in range(100):
        event_loop.tell(order.append, number)
    assert order == []
    gate.set()
    event_loop.call(lambda: None)
    assert order == list(range(100))


def test_what_may_block_is_done_beside_it_and_told_on_it() -> None:
    told: list[tuple[object, bool]] = []
    done = threading.Event()

    def note(answer: object) -> None:
        told.append((answer, event_loop.is_current()))
        done.set()

    event_loop.call(lambda: event_loop.in_thread(event_loop.is_current, note))
    assert done.wait(WAIT_S)
    assert told == [(False, True)]


def test_what_fails_beside_it_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    told: list[object] = []
    done = threading.Event()

    def note(answer: object) -> None:
        told.append(answer)
        done.set()

    event_loop.call(lambda: event_loop.in_thread(lose, note))
    assert done.wait(WAIT_S)
    assert isinstance(told[0], KeyError)
    assert "beside the event loop" not in caplog.text
    event_loop.call(lambda: event_loop.in_thread(lose))
    until = time.monotonic() + WAIT_S
    while "work beside the event loop failed" not in caplog.text:
        assert time.monotonic() < until
        time.sleep(0.001)


def test_sixty_pieces_of_slow_work_keep_nothing_waiting_and_take_few_threads() -> None:
    gate, left = threading.Event(), threading.Semaphore(0)

    def begin() -> None:
        for _ in range(60):
            event_loop.in_thread(lambda: gate.wait(WAIT_S), lambda _: left.release())

    before = threading.active_count()
    event_loop.call(begin)
    assert event_loop.call(lambda: "answers meanwhile")
    assert threading.active_count() <= before + 8
    gate.set()
    for _ in range(60):
        assert left.acquire(timeout=WAIT_S)


def test_sql_on_it_is_a_mistake_that_shows(acme: object) -> None:
    assert Tenant.objects.filter(slug="acme").exists()
    for ask in (Tenant.objects.count, connection.cursor):
        with pytest.raises((RuntimeError, SynchronousOnlyOperation), match=r"SQL on the event loop|async context"):
            event_loop.call(ask)
    assert Tenant.objects.filter(slug="acme").exists(), "threads may"


def test_a_forked_process_gets_its_own() -> None:
    ours = ident()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        # Of the child: nothing of pytest may run here.
        try:
            os.write(write, b"own" if event_loop.call(threading.get_native_id) else b"?")
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        assert answer.read() == b"own"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ident() == ours


def test_after_its_end_the_next_use_starts_another() -> None:
    before = event_loop.get()
    leave_the_loop()
    assert event_loop.call(lambda: 7) == 7
    assert event_loop.get() is not before


def test_a_second_loop_cannot_take_its_place() -> None:
    event_loop.get()

    async def attach() -> None:
        event_loop.attach()

    with pytest.raises(RuntimeError, match="already"):
        asyncio.run(attach())
    assert event_loop.call(event_loop.is_current)
