"""The ASGI application of a web process: it reads each request whole on the loop, then has a thread run Django.

Django's own ASGI handler starts a thread for each request without a bound; a pool's thread that reads the body itself waits
for as long as its sender likes. Here a thread is taken when there is nothing left to wait for but the product's own work.
"""

import asyncio
from functools import partial
from io import BytesIO
from typing import Any, Final

from mlplatform.http import environ as environs
from mlplatform.http import limits as bounds
from mlplatform.http import refusals, watching
from mlplatform.http.answers import PIECE, Answer, ReaderGone
from mlplatform.http.bodies import Bodies, Body, Disconnected, Receive, Refused
from mlplatform.http.bridge import Bridge, WSGIApplication
from mlplatform.http.limits import Limits
from mlplatform.http.pool import Pool, PoolFull

_ALIVE: Final = "/livez"
_LOOKS: Final = frozenset({"/readyz", "/metrics"})
"""Answered by threads of their own, for they are asked when the others are all taken."""
_STATIC: Final = "/static/"
"""A page brings twenty of its files at once; they take turns on threads of their own, and no call waits behind them."""
_LINGER_BYTES: Final = 16 * 1024 * 1024
"""How much of a body is read that is refused: Node, and others that look for the answer only when they have sent everything,
would see a broken connection in place of the refusal."""
_LINGER_S: Final = 5.0
_TOO_SLOW: Final = 408
_CLOSE: Final = (b"Connection", b"close")
_FULL: Final = "More calls are under way than can be done soon."


class Front:
    """The application that uvicorn calls for each request."""

    def __init__(self, application: WSGIApplication, limits: Limits) -> None:
        self._limits = limits
        self._bridge = Bridge(application, reader_s=limits.reader_s)
        self._pool = Pool("web", threads=limits.threads, waiting=limits.waiting)
        self._looks = Pool("look", threads=2, waiting=16)
        self._statics = Pool("static", threads=2, waiting=limits.waiting)
        self._files = Pool("files", threads=4, waiting=4096)
        self._bodies = Bodies(limits, self._files)

    def watch(self) -> None:
        """Say how much is under way."""
        watching.half_sent.set(self._bodies.half_sent)
        watching.held.set(self._bodies.memory)
        watching.waiting.set(self._pool.waiting)

    def end_slowest_body(self) -> bool:
        """Have the body that comes slowest make room for a new connection; whether there was one."""
        return self._bodies.end_slowest()

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        if scope["path"] == _ALIVE:
            environ = environs.of_scope(scope)
            unread = _has_body(environ)
            return await self._send(refusals.alive(environ), scope, receive, send, unread=unread)
        environ = environs.of_scope(scope)
        body: Body | None = None
        try:
            declared = _declared(environ)
            upload = bounds.takes_uploads(scope["method"], environ["PATH_INFO"])
            if declared > self._limits.bytes_of(upload=upload):
                # The application says so in the words of the address, by the headers alone.
                body = Body(BytesIO(), 0, complete=False)
            elif upload and (declared < 0 or declared > self._limits.body_bytes):
                refusal = await self._without_body(environ)
                if refusal is not None:
                    return await self._send(refusal, scope, receive, send, unread=True)
            if body is None:
                body = await self._read(environ, receive, upload=upload)
            environ["wsgi.input"] = body.input
            answer = await self._answer(environ)
        except Disconnected:
            return None
        except Refused as refused:
            return await self._send(refused.answer, scope, receive, send, unread=True)
        except PoolFull:
            watching.count("threads")
            complete = body is not None and body.complete
            return await self._send(refusals.overloaded(environ, _FULL), scope, receive, send, unread=not complete)
        finally:
            if body is not None:
                self._bodies.memory -= body.in_memory
                body.input.close()
        return await self._send(answer, scope, receive, send, unread=not body.complete)

    async def _read(self, environ: dict[str, Any], receive: Receive, *, upload: bool) -> Body:
        """The whole body. Almost every one is here already."""
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        content = message["body"]
        if message["more_body"]:
            return await self._bodies.read(environ, receive, content, upload=upload)
        self._bodies.hold(len(content), environ)
        return Body(BytesIO(content), len(content))

    async def _without_body(self, environ: dict[str, Any]) -> Answer | None:
        """The refusal of a large body by its headers, so that no stranger's fills the disk."""
        loop = asyncio.get_running_loop()
        return await self._pool.submit(partial(self._bridge.answer_without_body, environ, loop))

    async def _answer(self, environ: dict[str, Any]) -> Answer:
        path: str = environ["PATH_INFO"]
        pool = self._looks if path in _LOOKS else self._statics if path.startswith(_STATIC) else self._pool
        return await pool.submit(partial(self._bridge.answer, environ, asyncio.get_running_loop()))

    async def _send(self, answer: Answer, scope: Any, receive: Receive, send: Any, *, unread: bool) -> None:
        """Send it; where the body was not read to its end, say that the connection ends, and let the client finish."""
        if not unread and _is_small(answer) and scope["front"].reply(answer):
            return
        headers = [*answer.headers, _CLOSE] if unread else answer.headers
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if scope["method"] == "HEAD":
            answer.body = b""
            self._leave(answer)
        if not _is_small(answer):
            await self._send_pieces(answer, scope, send)
            answer.body = b""
        if unread:
            await send({"type": "http.response.body", "body": answer.body, "more_body": True})
            if answer.status != _TOO_SLOW:
                await _linger(scope, receive)
            answer.body = b""
        await send({"type": "http.response.body", "body": answer.body})

    async def _send_pieces(self, answer: Answer, scope: Any, send: Any) -> None:
        """As the client takes them. One that takes too little for too long is cut off by the connection (``protocol``)."""
        connection = scope["front"]
        try:
            for start in range(0, len(answer.body), PIECE):
                piece = answer.body[start : start + PIECE]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            while not connection.lost:
                if answer.file is not None:
                    piece = await self._files.submit(partial(answer.file.read, PIECE))
                elif answer.stream is not None:
                    piece = await answer.stream.next() or b""
                else:
                    return
                if not piece:
                    return
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except ReaderGone:
            connection.transport.abort()
            raise
        finally:
            self._leave(answer)

    def _leave(self, answer: Answer) -> None:
        """Let go of what makes the rest of an answer."""
        if answer.file is not None:
            self._files.submit(answer.file.close)
            answer.file = None
        if answer.stream is not None:
            answer.stream.abandon()
            answer.stream = None


def _is_small(answer: Answer) -> bool:
    return len(answer.body) <= PIECE and answer.file is None and answer.stream is None


def _has_body(environ: dict[str, Any]) -> bool:
    return "HTTP_TRANSFER_ENCODING" in environ or environ.get("CONTENT_LENGTH", "0") != "0"


def _declared(environ: dict[str, Any]) -> int:
    """The length that the headers say: -1 for chunks, whose length is unknown."""
    if "HTTP_TRANSFER_ENCODING" in environ:
        return -1
    length = environ.get("CONTENT_LENGTH", "")
    return int(length[:20]) if length.isascii() and length.isdecimal() else 0


async def _linger(scope: Any, receive: Receive) -> None:
    """Read what the client still sends, within bounds."""
    if any(name == b"expect" for name, _ in scope["headers"]):
        return  # It waits to be asked, and is not.
    left = _LINGER_BYTES
    try:
        async with asyncio.timeout(_LINGER_S):
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message["more_body"]:
                    return
                left -= len(message["body"])
    except TimeoutError:
        return
