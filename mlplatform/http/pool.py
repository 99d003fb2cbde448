"""A bounded pool of threads that an event loop hands work to.

``ThreadPoolExecutor`` has no bound on what waits, and wakes the loop for each result; here many results wake it once.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


class PoolFull(Exception):
    """As much work waits as may wait."""


@dataclass(frozen=True, slots=True)
class Continued:
    """What work returns that goes on: ``first`` is its result, and ``rest`` keeps the thread until it returns."""

    first: Any
    rest: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Done:
    future: "asyncio.Future[Any] | None"
    result: Any
    error: BaseException | None
    frees_thread: bool = True


class Pool:
    """Threads that start when they are needed and stay. Every method belongs to the loop's thread."""

    def __init__(self, name: str, *, threads: int, waiting: int) -> None:
        self._name = name
        self._threads = threads
        self._bound = threads + waiting
        self._started = 0
        self._under_way = 0
        self._inbox: Final[SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]]]] = SimpleQueue()
        self._done: Final[deque[_Done]] = deque()
        self._told = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """Work that no thread has begun."""
        return max(0, self._under_way - self._threads)

    def submit(self, work: Callable[[], T | Continued]) -> "asyncio.Future[T]":
        """Have a thread do it; raises PoolFull. Work is done even when its future is cancelled."""
        if self._under_way >= self._bound:
            raise PoolFull
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        self._under_way += 1
        if self._under_way > self._started < self._threads:
            self._started += 1
            Thread(target=self._run, args=(loop,), name=f"{self._name}-{self._started}", daemon=True).start()
        future: asyncio.Future[T] = loop.create_future()
        self._inbox.put((future, work))
        return future

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            future, work = self._inbox.get()
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - it belongs to the one that waits; the thread goes on
                self._tell(loop, _Done(future, None, error))
            else:
                if type(result) is Continued:
                    self._tell(loop, _Done(future, result.first, None, frees_thread=False))
                    self._finish(result.rest)
                    self._tell(loop, _Done(None, None, None))
                else:
                    self._tell(loop, _Done(future, result, None))
            del future, work

    def _tell(self, loop: asyncio.AbstractEventLoop, done: _Done) -> None:
        self._done.append(done)
        # What is done stands in the list before the flag is read; the loop lowers the flag before it empties the list.
        if not self._told:
            self._told = True
            try:
                loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                logger.debug("the loop is closed: the process ends")

    def _finish(self, rest: Callable[[], None]) -> None:
        try:
            rest()
        except Exception:
            logger.exception("an answer broke off")

    def _deliver(self) -> None:
        self._told = False
        while self._done:
            done = self._done.popleft()
            self._under_way -= done.frees_thread
            if done.future is None or done.future.done():
                continue  # Its caller is gone.
            if done.error is None:
                done.future.set_result(done.result)
            else:
                error = done.error
                done.future.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))
