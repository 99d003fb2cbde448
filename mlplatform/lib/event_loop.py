"""The event loop of this process: that of its web server, or one in a thread of its own that starts on first use.

What one thread owns needs no lock. A thread that wants something of it asks with :func:`call`, which waits, or :func:`tell`,
which does not. Nothing on the loop may block: SQL raises there, and long work goes to :func:`in_thread`.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import uvloop
from django.db import connections

logger = logging.getLogger(__name__)

T = TypeVar("T")

_THREADS: Final = 4
_PATIENT_THREADS: Final = 16

_starting = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread_id = 0
_threads: dict[bool, ThreadPoolExecutor] = {}
"""Beside the loop: for work that ends soon, and for work that may wait."""


class LoopEnded(RuntimeError):
    """The process is ending: nothing can be asked of its loop any more."""


def attach() -> None:
    """Make the running loop that of this process; to be called on it, before anything else asks."""
    global _loop, _thread_id
    if _loop is not None and not _loop.is_closed() and _loop is not asyncio.get_running_loop():
        raise RuntimeError("this process has an event loop already")
    _loop, _thread_id = asyncio.get_running_loop(), threading.get_ident()
    _refuse_sql()


def get() -> asyncio.AbstractEventLoop:
    """The loop; in a process that has none a thread starts with one."""
    loop = _loop
    if loop is None:
        with _starting:
            loop = _loop or _started()
    return loop


def is_current() -> bool:
    """Whether this is the loop's thread."""
    return threading.get_ident() == _thread_id


def call(work: Callable[[], T]) -> T:
    """What ``work`` returns or raises on the loop; at once on its own thread. Raises LoopEnded."""
    loop = get()
    if is_current():
        return work()
    answer: Future[T] = Future()
    _soon(loop, _run, work, answer)
    return answer.result()


def tell(work: Callable[..., object], *arguments: Any) -> None:
    """Have the loop do it soon. Raises LoopEnded."""
    loop = get()
    if is_current():
        loop.call_soon(work, *arguments)
    else:
        _soon(loop, work, *arguments)


def in_thread(
    work: Callable[[], T], done: Callable[[T | Exception], None] | None = None, *, may_wait: bool = False
) -> None:
    """Of the loop: have one of a few threads do what may block; ``done`` gets on the loop what it returned or raised.

    What ``may_wait`` for seconds has other threads, so that nothing else waits with it.
    """
    threads = _threads.get(may_wait)
    if threads is None:
        most, name = (_PATIENT_THREADS, "patient") if may_wait else (_THREADS, "beside-loop")
        threads = _threads[may_wait] = ThreadPoolExecutor(most, thread_name_prefix=name)
    loop = get()

    def run() -> None:
        answer: T | Exception
        try:
            answer = work()
        except Exception as error:
            answer = error
            if done is None:
                logger.exception("work beside the event loop failed")
        if done is not None:
            _soon(loop, done, answer)

    threads.submit(run)


def stop() -> None:
    """End a loop that has a thread of its own; the next use starts another. For tests and for processes that end."""
    global _loop, _thread_id
    loop, thread_id = _loop, _thread_id
    if loop is None or thread_id == threading.get_ident():
        return
    _loop, _thread_id = None, 0
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)


def _started() -> asyncio.AbstractEventLoop:
    global _loop, _thread_id
    ready = threading.Event()
    loop = uvloop.new_event_loop()

    def run() -> None:
        global _thread_id
        asyncio.set_event_loop(loop)
        _thread_id = threading.get_ident()
        _refuse_sql()
        loop.call_soon(ready.set)
        try:
            loop.run_forever()
        finally:
            loop.close()

    threading.Thread(target=run, name="event-loop", daemon=True).start()
    ready.wait()
    _loop = loop
    return loop


def _run(work: Callable[[], Any], answer: "Future[Any]") -> None:
    try:
        answer.set_result(work())
    except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits
        answer.set_exception(error)


def _soon(loop: asyncio.AbstractEventLoop, work: Callable[..., object], *arguments: Any) -> None:
    try:
        loop.call_soon_threadsafe(work, *arguments)
    except RuntimeError as error:
        raise LoopEnded("the process is ending") from error


def _refuse_sql() -> None:
    """A query would keep every call of the process waiting."""
    for connection in connections.all():
        connection.execute_wrappers.append(_refused)


def _refused(*_: Any) -> Any:
    raise RuntimeError("SQL on the event loop")


def _forget() -> None:
    """In a forked child: the loop's thread stayed with the parent."""
    global _loop, _thread_id, _threads, _starting
    _loop, _thread_id, _threads, _starting = None, 0, {}, threading.Lock()


os.register_at_fork(after_in_child=_forget)
