"""Daemon threads that a process needs: none dies unseen. They start on first use, never at import (Celery forks)."""

import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final
from weakref import WeakSet

from prometheus_client import Counter

logger = logging.getLogger(__name__)

_AGAIN_S: Final = 0.1

LAST_TICK_S: Final = 2.0
"""How long a process that ends waits for work that has begun already."""

_died = Counter(
    "mlplatform_threads_died_total", "Background threads that ended by an error and began anew.", ["thread"]
)


def start_watched(run: Callable[[], None], *, name: str) -> threading.Thread:
    """Run ``run`` on a daemon thread until it returns. When it raises anything at all, it is logged, counted, and begun anew
    on the same thread 0.1 s later, so ``run`` must find what it has to do in what it keeps."""

    def watched() -> None:
        while True:
            try:
                return run()
            except BaseException:
                _died.labels(name).inc()
                logger.critical("the thread %s ended by an error; it begins anew", name, exc_info=True)
                time.sleep(_AGAIN_S)

    thread = threading.Thread(target=watched, name=name, daemon=True)
    thread.start()
    return thread


_tickers: "WeakSet[Ticker]" = WeakSet()


class Ticker:
    """Calls ``work`` every ``period_s`` seconds on a daemon thread of its own; an error is logged and the next tick comes.

    Work that ``hands_over`` what the process gathered is done once more when the process ends in good order (:func:`finish`).
    """

    def __init__(self, name: str, period_s: float, work: Callable[[], None], *, hands_over: bool = False) -> None:
        self.hands_over = hands_over
        self._name = name
        self._period_s = period_s
        self._work = work
        self._lock = threading.Lock()
        self._started = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        _tickers.add(self)

    def ensure_started(self) -> None:
        """Start the thread unless this process has it already; cheap enough for the path of a request."""
        if self._started:
            return
        with self._lock:
            if self._runs():
                return
            self._wake = threading.Event()
            self._thread = start_watched(partial(self._run, self._wake), name=self._name)
            self._started = True

    def _runs(self) -> bool:
        return self._started

    def stop(self) -> None:
        """End the thread; the next :meth:`ensure_started` starts a new one. Tests use it."""
        self._wake.set()
        self._started = False

    def finish(self) -> None:
        """End the thread and do the work once more, if the thread was started. An error is logged.

        Where the thread hangs, as in a database that does not answer, the work is not begun again: it would hang, too.
        """
        if not self._started or self._thread is None:
            return
        self.stop()
        self._thread.join(LAST_TICK_S)
        try:
            if self._thread.is_alive():
                raise TimeoutError(f"it has not ended within {LAST_TICK_S:g} s")
            self._work()
        except Exception:
            logger.exception("background work %s failed at the end of the process: what it had is lost", self._name)

    def forget_thread(self) -> None:
        """In a forked child: the thread stayed with the parent, and a thread there may have held the lock."""
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


def finish() -> None:
    """Hand over what this process gathered and has not told yet. For one that ends in good order and takes no more calls."""
    for ticker in list(_tickers):
        if ticker.hands_over:
            ticker.finish()


def _forget_threads() -> None:
    for ticker in _tickers:
        ticker.forget_thread()


os.register_at_fork(after_in_child=_forget_threads)
