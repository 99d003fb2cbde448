"""Daemon threads that repeat one function. The suite's fixture keeps them from starting, so these tests undo it."""

import logging
import os
import threading
import time

import pytest
from prometheus_client import REGISTRY

from mlplatform.lib import background
from mlplatform.lib.background import Ticker, start_watched

REAL_START = Ticker.ensure_started


@pytest.fixture
def tickers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ticker, "ensure_started", REAL_START)


def test_it_repeats_and_an_error_does_not_end_it(tickers: None, caplog: pytest.LogCaptureFixture) -> None:
    ticks = threading.Semaphore(0)

    def work() -> None:
        ticks.release()
        raise ValueError("a bad tick")

    ticker = Ticker("test", 0.001, work)
    with caplog.at_level(logging.ERROR):
        ticker.ensure_started()
        ticker.ensure_started()
        names = [thread.name for thread in threading.enumerate()]
        for _ in range(3):
            assert ticks.acquire(timeout=10)
        ticker.stop()
    assert names.count("test") == 1, "started once, however often it is asked for"
    assert "background work test failed" in caplog.text


def test_after_a_stop_it_can_start_again(tickers: None) -> None:
    ticked = threading.Event()
    ticker = Ticker("again", 0.001, ticked.set)
    ticker.ensure_started()
    assert ticked.wait(10)
    ticker.stop()
    ticked.clear()
    ticker.ensure_started()
    assert ticked.wait(10)
    ticker.stop()


def test_a_forked_child_starts_a_thread_of_its_own(tickers: None) -> None:
    """A real fork: the child has the memory of its parent, but not its threads."""
    ticked = threading.Event()
    ticker = Ticker("forked", 0.001, ticked.set)
    ticker.ensure_started()
    assert ticked.wait(10)
    with ticker._lock:  # as if another thread of the parent were just starting it
        ticked.clear()
        child = os.fork()
        if child == 0:
            ticker.ensure_started()
            os._exit(0 if ticked.wait(10) else 1)
    _, status = os.waitpid(child, 0)
    ticker.stop()
    assert os.waitstatus_to_exitcode(status) == 0


def test_work_that_hangs_does_not_keep_a_process_that_ends(
    tickers: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "LAST_TICK_S", 0.05)
    begun, goes_on = threading.Semaphore(0), threading.Event()

    def hangs() -> None:
        begun.release()
        goes_on.wait(10)

    Ticker("hangs", 0.001, hangs, hands_over=True).ensure_started()
    assert begun.acquire(timeout=10)
    background.finish()
    goes_on.set()
    assert not begun.acquire(blocking=False), "not begun a second time"
    assert "background work hangs failed at the end of the process" in caplog.text


def test_a_watched_thread_that_dies_is_counted_and_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it died of: a panic of a library in Rust is no Exception."""
    lives: list[str] = []

    def run() -> None:
        lives.append(threading.current_thread().name)
        if len(lives) < 3:
            raise BaseException("not an Exception")

    before = died("watched-test")
    thread = start_watched(run, name="watched-test")
    thread.join(10)
    assert not thread.is_alive(), "it returned the third time"
    assert lives == ["watched-test"] * 3
    assert died("watched-test") == before + 2
    assert "the thread watched-test ended by an error" in caplog.text


def died(name: str) -> float:
    return REGISTRY.get_sample_value("mlplatform_threads_died_total", {"thread": name}) or 0.0


def test_a_process_that_ends_hands_over_what_it_gathered(tickers: None, caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    def failing() -> None:
        raise ValueError("no Redis")

    gathers = Ticker("gathers", 60, lambda: done.append("gathers"), hands_over=True)
    fails = Ticker("fails", 60, failing, hands_over=True)
    others = Ticker("looks", 60, lambda: done.append("looks"))
    never = Ticker("never-begun", 60, lambda: done.append("never begun"), hands_over=True)
    for ticker in (gathers, fails, others):
        ticker.ensure_started()
    background.finish()
    background.finish()
    others.stop()
    assert done == ["gathers"], never
    assert "background work fails failed at the end of the process" in caplog.text
    assert not {"gathers", "fails"} & {thread.name for thread in threading.enumerate()}


def test_what_its_thread_has_begun_is_waited_for(tickers: None) -> None:
    """It may hold what it gathered: it would be lost with the thread."""
    begun, told = threading.Event(), []

    def slowly() -> None:
        if not begun.is_set():
            begun.set()
            time.sleep(0.2)
        told.append(threading.current_thread().name)

    Ticker("slow", 0.001, slowly, hands_over=True).ensure_started()
    assert begun.wait(10)
    background.finish()
    assert told == ["slow", "MainThread"]
