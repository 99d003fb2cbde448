"""Small daemon threads that repeat one function; they start on first use, never at import (Granian and Celery fork)."""

import logging
import os
import threading
from collections.abc import Callable
from weakref import WeakSet

logger = logging.getLogger(__name__)


_tickers: "WeakSet[Ticker]" = WeakSet()


class Ticker:
    """Calls ``work`` every ``period_s`` seconds on a daemon thread of its own; an error is logged and the next tick comes."""

    def __init__(self, name: str, period_s: float, work: Callable[[], None]) -> None:
        self._name = name
        self._period_s = period_s
        self._work = work
        self._lock = threading.Lock()
        self._started = False
        self._wake = threading.Event()
        _tickers.add(self)

    def ensure_started(self) -> None:
        """Start the thread unless this process has it already; cheap enough for the path of a request."""
        if self._started:
            return
        with self._lock:
            if self._runs():
                return
            self._wake = threading.Event()
            threading.Thread(target=self._run, args=(self._wake,), name=self._name, daemon=True).start()
            self._started = True

    def _runs(self) -> bool:
        return self._started

    def stop(self) -> None:
        """End the thread; the next :meth:`ensure_started` starts a new one. Tests use it."""
        self._wake.set()
        self._started = False

    def forget_thread(self) -> None:
        """In a forked child: the thread stayed with the parent, and somebody there may have held the lock."""
        self._lock = threading.Lock()
        self._started = False

    def _run(self, wake: threading.Event) -> None:
        failing = False
        while not wake.wait(self._period_s):
            try:
                self._work()
            except Exception:
                # Once, not at every tick: a dependency that is away for an hour must not fill the log.
                if not failing:
                    logger.exception("background work %s failed; it goes on trying", self._name)
                failing = True
            else:
                if failing:
                    logger.info("background work %s is well again", self._name)
                failing = False


def _forget_threads() -> None:
    for ticker in _tickers:
        ticker.forget_thread()


os.register_at_fork(after_in_child=_forget_threads)
