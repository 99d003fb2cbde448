"""uvicorn's HTTP protocol with what it lacks: deadlines for headers and for slow readers, bounds of headers and connections.

Everything about HTTP itself is uvicorn's and llhttp's.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from heapq import nsmallest
from operator import attrgetter
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from mlplatform.http import refusals, watching
from mlplatform.http.answers import Answer
from mlplatform.http.asked import Asked
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
    """One connection. Its requests are answered one after the other; uvicorn hears of those that the application answers, when
    their turn has come."""

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
        self._newest: Asked | None = None
        """Whose body comes."""
        self._at_work: Asked | None = None
        """Whose turn it is. It goes through the door if it is one for it and its body comes at once."""
        self._waiting: deque[Asked] = deque()
        """Sent before the one at work was answered."""
        self._untaken: Answer | None = None
        """Of the door, for a client that has not taken what it was sent before."""
        self._has_asked = False
        self._asks_for_upgrade = False
        self._method = b""
        self.paused_since = 0.0
        self._closing_since = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no request is at work on it: none came yet, its head is on its way, or the last is answered."""
        return self._at_work is None

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

    # --- What is asked -----------------------------------------------------------------------------------------------

    def _begin(self, asked: Asked) -> None:
        """Its turn has come."""
        self._at_work = asked
        door = self._state.door
        if door is None or not door.is_for(asked):
            self._tell(asked)
        elif asked.is_whole:
            self._knock(asked)

    def _knock(self, asked: Asked) -> None:
        """Go through the door, or to the application."""
        door = self._state.door
        asked.at_door = True
        if door is None or not door.take(asked, reply=self._reply_through_door, hand_on=partial(self._tell, asked)):
            self._tell(asked)

    def _tell(self, asked: Asked) -> None:
        """Let uvicorn have it, for the application, with what came of it."""
        if self.lost:
            return
        asked.at_door = False
        # Of the next request there may be half a head.
        newer = self.parser, self.url, self.headers
        self.parser = cast(httptools.HttpRequestParser, asked)
        try:
            super().on_message_begin()
            cast(dict[str, Any], self.scope)["front"] = self
            super().on_url(asked.url)
            for name, value in asked.headers:
                super().on_header(name, value)
            super().on_headers_complete()
            asked.is_told = True
            if asked.body:
                super().on_body(bytes(asked.body))
            if asked.is_whole:
                super().on_message_complete()
        except (httptools.HttpParserError, UnicodeDecodeError):
            self.send_400_response("")  # Its address is none.
        finally:
            self.parser, self.url, self.headers = newer

    def _reply_through_door(self, answer: Answer) -> None:
        if not self.reply(answer) and not self.lost:
            self._untaken = answer

    def data_received(self, data: bytes) -> None:
        self._head_follows = False
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        asked = self._at_work
        if asked is not None and not (asked.at_door or asked.is_told or self.transport.is_closing()):
            self._tell(asked)  # The rest of its body is late.
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
        self._in_head = True
        self._head_bytes = 0
        self.since = self.loop.time()
        self.url, self.headers = b"", []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # Trailers are no headers.
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head, self._head_follows = False, True
        parser = self.parser
        if parser.should_upgrade():
            self._asks_for_upgrade, self._method = True, parser.get_method()
            return
        self._has_asked = True
        version = parser.get_http_version()
        keep_alive = version != "1.0" and parser.should_keep_alive() and not self._state.draining
        asked = Asked(parser.get_method(), self.url, self.headers, version=version, keep_alive=keep_alive)
        self._newest = asked
        if self._at_work is None:
            self._begin(asked)
        else:
            self.flow.pause_reading()
            self._waiting.append(asked)

    def on_body(self, body: bytes) -> None:
        asked = self._newest
        if self._asks_for_upgrade or asked is None:
            return
        if asked.is_told:
            super().on_body(body)
        else:
            asked.body += body
            if len(asked.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()

    def on_message_complete(self) -> None:
        self._head_follows = True
        asked = self._newest
        if self._asks_for_upgrade or asked is None:
            return
        asked.is_whole = True
        if asked.is_told:
            super().on_message_complete()
        elif asked is self._at_work:
            self._knock(asked)

    # --- What is answered --------------------------------------------------------------------------------------------

    def reply(self, answer: Answer) -> bool:
        """Send a whole answer to the request at work at once, where nothing of another one waits to be taken; False where that
        cannot be."""
        asked = self._at_work
        if asked is None or self.lost or self.flow.write_paused:
            return False
        if not answer.head:
            answer.make_whole()
        keep_alive = asked.keep_alive
        if asked.is_told:
            keep_alive = self.cycle.keep_alive
            self.cycle.response_started = self.cycle.response_complete = True
        lines = [STATUS_LINE[answer.status]]
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        lines += (answer.head, b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
        if asked.method != b"HEAD":
            lines.append(answer.body)
        self.transport.write(b"".join(lines))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()
        return True

    def on_response_complete(self) -> None:
        """The request at work is answered; the next one, if it is here, has its turn. Idle connections are ended by `look`."""
        self.since = self.loop.time()
        self.server_state.total_requests += 1
        self._at_work = None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._waiting:
            self._begin(self._waiting.popleft())

    def pause_writing(self) -> None:
        self.paused_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self.paused_since = 0.0
        super().resume_writing()
        if self._untaken is not None:
            answer, self._untaken = self._untaken, None
            self._reply_through_door(answer)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP ends the connection, with an answer where none is under way."""
        self._refuse(refusals.plain(400, "Malformed request", "The request cannot be read as HTTP."), "malformed")

    def shutdown(self) -> None:
        """The process drains: the next answer is the last one on this connection. It is closed when it stays idle."""
        last = self._waiting[-1] if self._waiting else self._at_work
        if last is None:
            return
        last.keep_alive = False
        if last.is_told and not self.cycle.response_started:
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
            elif idle_s > (limits.keep_alive_s if self._has_asked else limits.head_s) or (
                self._state.draining and idle_s > _IDLE_S
            ):
                self.transport.close()

    def abort(self) -> None:
        """Cut off a client that does not take its answer."""
        watching.count("reader-slow")
        # With a reset, for the kernel would keep what it has buffered for minutes.
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _refuse(self, answer: Answer, reason: str) -> None:
        watching.count(reason)
        asked = self._at_work
        if self.transport.is_closing():
            return
        if asked is None or not asked.is_told or not self.cycle.response_started:
            headers = [*self.server_state.default_headers, *answer.headers, (b"connection", b"close")]
            lines = b"".join(name.lower() + b": " + value + b"\r\n" for name, value in headers)
            self.transport.write(STATUS_LINE[answer.status] + lines + b"\r\n" + answer.body)
        self.transport.close()
