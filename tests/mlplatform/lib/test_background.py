"""Daemon threads that repeat one function. The suite's fixture keeps them from starting, so these tests undo it."""

import logging
import threading

import pytest

from mlplatform.lib.background import Ticker

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


def test_a_forked_child_starts_a_thread_of_its_own(tickers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread.name))
    ticker = Ticker("forked", 1.0, lambda: None)
    ticker.ensure_started()
    monkeypatch.setattr("mlplatform.lib.background.os.getpid", lambda: 4711)
    ticker.ensure_started()
    assert started == ["forked", "forked"]
