"""uvicorn's HTTP protocol with what it lacks: deadlines for headers and for slow readers, bounds of headers and connections.

Everything about HTTP itself is uvicorn's and llhttp's.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from functools import partial
from heapq import nsmallest
from operator import attrgetter
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from mlplatform.http import refusals, watching
from mlplatform.http.answers import Answer
from mlplatform.http.door import Door
from mlplatform.http.limits import Limits

_HEAD_BYTES: Final = 64 * 1024
_CLOSING_S: Final = 10.0
"""Within which a client takes the rest of a last answer."""
_IDLE_S: Final = 2.0
"""A connection that a draining process closes has been idle for as long, so that no request is on its way to it."""
_OF_UPGRADES: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})
_RESET: Final = struct.pack("ii", 1, 0)
_SHARE_TO_CLOSE: Final = 64


class State(ServerState):
    """What the connections of a process share."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.draining = False
        self.end_slowest_body: Callable[[], bool] = lambda: False
        self.door: Door | None = None
        """The way to the engine without a thread; None where everything goes to the application."""


class FrontProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._state = cast(State, server_state)
        self.lost = False
        self.since = self.loop.time()
        """When it came, began to send a request, or was last answered."""
        self._in_head = False
        self._head_follows = False
        """Whether these bytes hold the end of another message, whose length is not this head's."""
        self._head_bytes = 0
        self._at_work: RequestResponseCycle | None = None
        self._for_door: tuple[RequestResponseCycle, Any] | None = None
        """A request that goes through the door if its body is small and comes at once."""
        self._has_asked = False
        self._asks_for_upgrade = False
        self._method = b""
        self.paused_since = 0.0
        self._closing_since = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no request is at work on it: none came yet, its head is on its way, or the last is answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_closing(self) -> bool:
        """Whether its end has begun."""
        return self.lost or self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._state.limits.connections:
            self._make_room()

    def _make_room(self) -> None:
        """Close what has been idle longest, else what sends or takes slowest; else this connection."""
        watching.count("crowded")
        others = [
            each for each in cast("set[FrontProtocol]", self.connections) if each is not self and not each.is_closing
        ]
        idle = nsmallest(_SHARE_TO_CLOSE, (each for each in others if each.is_idle), key=attrgetter("since"))
        for each in idle:
            each.transport.close()
        if idle or self._state.end_slowest_body():
            return
        slow = [each for each in others if each.paused_since and self.since - each.paused_since > _IDLE_S]
        if slow:
            min(slow, key=attrgetter("paused_since")).abort()
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        super().connection_lost(exc)
        # uvicorn tells the request that came last, which need not be the one at work.
        if self._at_work is not None and not self._at_work.response_complete:
            self._at_work.disconnected = True
            self._at_work.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._at_work = cycle
        door = self._state.door
        if door is None or not door.is_for(cycle.scope):
            super()._start_asgi_task(cycle, app)
            return
        self._for_door = (cycle, app)
        if not cycle.more_body:
            self._knock()

    def _knock(self) -> None:
        """Go through the door, or to the application."""
        assert self._for_door is not None  # noqa: S101 (looked at before)
        (cycle, app), self._for_door = self._for_door, None
        start = partial(super()._start_asgi_task, cycle, app)
        door = self._state.door
        reply = partial(self._reply_through_door, cycle)
        if door is None or cycle.more_body or not door.take(cycle.scope, bytes(cycle.body), reply=reply, hand_on=start):
            start()

    def _reply_through_door(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        if not cycle.disconnected and not self.reply(answer):
            task = self.loop.create_task(_send(cycle, answer))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._head_follows = False
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        if self._for_door is not None:
            self._knock()
        if self._in_head and not self._head_follows and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                self._refuse(refusals.plain(431, "Headers too large", "The headers are too large."), "head-large")

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as asked:
            # The request is answered as if it had not asked (RFC 9110); but its parser now takes the body for another protocol.
            self._renew_parser()
            self.parser.feed_data(self._head_without_upgrade() + data[asked.args[0] :])

    def _renew_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _head_without_upgrade(self) -> bytes:
        self._asks_for_upgrade = False
        kept = [(name, value) for name, value in self.headers if name not in _OF_UPGRADES]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self.headers):
            kept.append((b"connection", b"close"))
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in kept)
        return self._method + b" " + self.url + b" HTTP/1.1\r\n" + lines + b"\r\n"

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        self.since = self.loop.time()
        cast(dict[str, Any], self.scope)["front"] = self

    def on_headers_complete(self) -> None:
        self._in_head, self._head_follows = False, True
        if self.parser.should_upgrade():
            self._asks_for_upgrade, self._method = True, self.parser.get_method()
            return
        self._has_asked = True
        super().on_headers_complete()
        if self._state.draining:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self._head_follows = True
        if not self._asks_for_upgrade:
            super().on_message_complete()
            if self._for_door is not None and not self._for_door[0].more_body:
                self._knock()

    def reply(self, answer: Answer) -> bool:
        """Send a whole answer at once, where nothing of another one waits to be taken; False where that cannot be."""
        cycle = self._at_work
        if cycle is None or cycle.disconnected or self.flow.write_paused:
            return False
        if not answer.head:
            answer.make_whole()
        cycle.response_started = cycle.response_complete = True
        lines = [STATUS_LINE[answer.status]]
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        lines += (answer.head, b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        if cycle.scope["method"] != "HEAD":
            lines.append(answer.body)
        self.transport.write(b"".join(lines))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self.paused_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self.paused_since = 0.0
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP ends the connection, with an answer where none is under way."""
        self._refuse(refusals.plain(400, "Malformed request", "The request cannot be read as HTTP."), "malformed")

    def shutdown(self) -> None:
        """The process drains: the next answer is the last one on this connection. It is closed when it stays idle."""
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def look(self, now: float) -> None:
        """End it where it took too long for what it is at."""
        limits = self._state.limits
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > _CLOSING_S:
                self.abort()
        elif self.paused_since:
            if now - self.paused_since > limits.reader_s:
                self.abort()
        elif self.is_idle:
            idle_s = now - self.since
            if self._in_head:
                if idle_s > limits.head_s:
                    answer = refusals.too_slow({}, "The headers did not arrive in time.")
                    self._refuse(answer, "head-slow")
            elif (not self._has_asked and idle_s > limits.head_s) or (self._state.draining and idle_s > _IDLE_S):
                self.transport.close()

    def abort(self) -> None:
        """Cut off a client that does not take its answer."""
        watching.count("reader-slow")
        # With a reset, for the kernel would keep what it has buffered for minutes.
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _refuse(self, answer: Answer, reason: str) -> None:
        watching.count(reason)
        cycle = self.cycle
        if self.transport.is_closing():
            return
        if cycle is None or cycle.response_complete or not cycle.response_started:
            headers = [*self.server_state.default_headers, *answer.headers, (b"connection", b"close")]
            lines = b"".join(name.lower() + b": " + value + b"\r\n" for name, value in headers)
            self.transport.write(STATUS_LINE[answer.status] + lines + b"\r\n" + answer.body)
        self.transport.close()


async def _send(cycle: RequestResponseCycle, answer: Answer) -> None:
    """To a client that has not taken what it was sent before: as it takes it."""
    lines = [line.partition(b": ") for line in answer.head.split(b"\r\n") if line]
    headers = [(name, value) for name, _, value in lines]
    await cycle.send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await cycle.send({"type": "http.response.body", "body": answer.body})
