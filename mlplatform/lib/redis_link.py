"""One connection to a Redis server that every call of the event loop shares: what is asked in one turn goes out in one write,
and answers come back in the order of the questions.

redis-py opens it (addresses, TLS, passwords, time-outs); then its transport is ours, without a lock, a pool or a task for a
question. Every question has a deadline from when it was asked, also while the connection is being opened. A server that lets
one pass is given up with everything behind it: the connection is cut, all questions fail at once, and the next one opens it
anew. What went to a connection that the server closed is asked once more, as ``billing.admission.connection`` does.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import hiredis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as TimedOut

from mlplatform.lib import event_loop
from mlplatform.lib.redis import UNANSWERED

logger = logging.getLogger(__name__)

Answers = list[Any]
Done = Callable[[Answers | Exception], None]
"""Gets the answers in order, with an error that a command got in its place; or what kept the server from answering."""

_NOTHING: Final = object()


def packed(*parts: str | bytes) -> bytes:
    """One command as it travels."""
    command: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type]
    return command


class _Question:
    __slots__ = ("answers", "done", "found", "is_again", "is_sent", "packed", "until")

    def __init__(self, packed: bytes, answers: int, done: Done, until: float) -> None:
        self.packed = packed
        self.answers = answers
        self.done = done
        self.until = until
        self.found: Answers = []
        self.is_sent = False
        self.is_again = False


class Link(asyncio.Protocol):
    """Of one server, by its URL; every method belongs to the loop's thread. ``patience_s`` is each question's time."""

    def __init__(self, url: str, *, patience_s: float) -> None:
        self._patience_s = patience_s
        self._pool = redis.asyncio.ConnectionPool.from_url(
            url, socket_connect_timeout=patience_s, socket_timeout=patience_s, retry=Retry(NoBackoff(), 0)
        )
        self._loop = event_loop.get()
        self._questions: deque[_Question] = deque()
        self._unsent: list[_Question] = []
        self._writes_soon = False
        self._transport: Any = None
        self._reader: Any = None
        self._streams: Any = None
        """What redis-py made of the transport: a stream that is dropped closes it."""
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_failing = False
        """Whether the server failed since it last answered."""

    def ask(self, packed: bytes, done: Done, *, answers: int = 1, corked: bool = False) -> None:
        """Send packed commands in this turn of the loop; ``done`` is called later, never from here. Of a ``corked`` question the
        asker calls :meth:`flush` when it has no more of them."""
        question = _Question(packed, answers, done, self._loop.time() + self._patience_s)
        self._questions.append(question)
        self._unsent.append(question)
        if not corked and not self._writes_soon:
            self._writes_soon = True
            self._loop.call_soon(self._write_soon)
        if self._timer is None:
            self._timer = self._loop.call_at(question.until, self._look)

    def flush(self) -> None:
        """Write what is unsent now, and not after this turn of the loop."""
        if self._unsent:
            self._write()

    def close(self) -> None:
        """Fail what waits, and let go of the connection."""
        self._give_up(Disconnected("The connection was closed here."))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- Out ---------------------------------------------------------------------------------------------------------

    def _write_soon(self) -> None:
        self._writes_soon = False
        self._write()

    def _write(self) -> None:
        if self._transport is None:
            if self._opening is None and self._unsent:
                self._opening = self._loop.create_task(self._open())
            return
        unsent, self._unsent = self._unsent, []
        if not unsent:
            return
        for question in unsent:
            question.is_sent = True
        self._transport.write(unsent[0].packed if len(unsent) == 1 else b"".join([each.packed for each in unsent]))

    async def _open(self) -> None:
        connection = self._pool.make_connection()
        try:
            async with asyncio.timeout(self._patience_s):
                await connection.connect()
        except asyncio.CancelledError:
            return
        except (RedisError, OSError, TimeoutError) as error:
            self._opening = None
            self._fail_all(
                error if isinstance(error, RedisError) else Disconnected(str(error) or "no connection in time")
            )
            return
        self._opening = None
        # From here on the transport is ours. Nothing of the handshake is left in redis-py's reader.
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=connection._parser.parse_error, notEnoughData=_NOTHING
        )
        self._streams = connection._reader, connection._writer
        self._transport = connection._writer.transport
        self._transport.set_protocol(self)
        connection._reader = connection._writer = None
        self._write()

    # --- In ----------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Of asyncio."""
        reader, questions = self._reader, self._questions
        self.is_failing = False
        try:
            reader.feed(data)
            while (answer := reader.gets()) is not _NOTHING:
                if type(answer) is hiredis.PushNotification or not questions:
                    continue
                question = questions[0]
                question.found.append(answer)
                if len(question.found) == question.answers:
                    questions.popleft()
                    self._tell(question, question.found)
        except RedisError as error:
            self._give_up(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio: the server closed it. What was asked and not answered is asked once more."""
        if self._transport is None:
            return
        self._let_go()
        sent = [each for each in self._questions if each.is_sent]
        lost = [each for each in sent if each.is_again or each.found]
        again = [each for each in sent if not (each.is_again or each.found)]
        unsent = [each for each in self._questions if not each.is_sent]
        self._questions = deque([*again, *unsent])
        self._unsent = [*again, *unsent]
        for question in again:
            question.is_again = True
        self._fail(lost, Disconnected("Connection closed by server."))
        if self._unsent and not self._writes_soon:
            self._writes_soon = True
            self._loop.call_soon(self._write_soon)

    def _look(self) -> None:
        """At the question that waits longest: there is one timer for all."""
        self._timer = None
        if not self._questions:
            return
        until = self._questions[0].until
        if until <= self._loop.time():
            self._give_up(TimedOut("Timeout while speaking to the server."))
        else:
            self._timer = self._loop.call_at(until, self._look)

    # --- Failures ----------------------------------------------------------------------------------------------------

    def _give_up(self, error: Exception) -> None:
        transport = self._transport
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if transport is not None:
            self._let_go()
            transport.abort()
        self._fail_all(error)

    def _let_go(self) -> None:
        self._transport = self._reader = self._streams = None

    def _fail_all(self, error: Exception) -> None:
        self.is_failing = True
        failed, self._questions, self._unsent = self._questions, deque(), []
        self._fail(failed, error)

    def _fail(self, questions: "deque[_Question] | list[_Question]", error: Exception) -> None:
        """Those that were sent may have been done all the same, which their error says."""
        maybe_done = type(error)(*error.args)
        maybe_done.add_note(UNANSWERED)
        for question in questions:
            self._tell(question, maybe_done if question.is_sent else error)

    def _tell(self, question: _Question, answer: Answers | Exception) -> None:
        try:
            question.done(answer)
        except Exception:
            logger.exception("what waited for a Redis server's answer failed")


_links: dict[tuple[str, float], Link] = {}


def link_to(url: str, *, patience_s: float) -> Link:
    """The process's link to a server; of the loop's thread."""
    link = _links.get((url, patience_s))
    if link is None:
        link = _links[url, patience_s] = Link(url, patience_s=patience_s)
    return link


def forget() -> None:
    """Close every link; for tests, and for a process that ends."""
    links = [*_links.values()]
    _links.clear()
    if links:
        event_loop.call(lambda: _close(links))


def _close(links: list[Link]) -> None:
    for link in links:
        link.close()


# A forked child shares its parent's sockets, so it must not speak on them.
os.register_at_fork(after_in_child=_links.clear)
