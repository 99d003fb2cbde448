"""Bodies that come in: each is read whole on the loop, within bounds of time, size and number, before any thread begins.

A body that stays half-sent costs its bytes and nothing else. Where there are as many as may be, the one that came slowest
makes room, so that a steady sender is not kept out by those who do not send.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO, Any, Final, NoReturn

from django.conf import settings

from inference.registry.packages import room, storage
from mlplatform.http import refusals, watching
from mlplatform.http.answers import Answer
from mlplatform.http.limits import Limits
from mlplatform.http.pool import Pool
from mlplatform.lib.client_address import client_address
from mlplatform.lib.errors import PlatformError

Receive = Callable[[], Awaitable[Any]]

_MEMORY_BYTES: Final = 1024 * 1024
"""Of a package; what is larger goes to a file."""
_WRITE_BYTES: Final = 256 * 1024
_YOUNG_S: Final = 2.0
"""A body is not called slow before."""
_UPLOADS_PER_KEY: Final = 2
_LONGEST_KEY: Final = 200


class Disconnected(Exception):
    """The client left before its body was here."""


class Refused(Exception):
    """The body is not read on; ``answer`` says why."""

    def __init__(self, answer: Answer, reason: str) -> None:
        super().__init__(reason)
        self.answer = answer
        watching.count(reason)


@dataclass(slots=True)
class Body:
    """A body as the application gets it. ``complete`` is False where there is more of it than anything takes."""

    input: IO[bytes]
    in_memory: int
    complete: bool = True


@dataclass(eq=False, slots=True)
class _Incoming:
    """A body of which a part is here."""

    began: float
    clock: asyncio.Timeout
    received: int = 0
    in_memory: int = 0
    pieces: list[bytes] = field(default_factory=list)
    file: IO[bytes] | None = None
    ended_for: str = ""
    """The reason, where it had to make room for others."""

    def rate(self, now: float) -> float:
        """Bytes a second since it began."""
        return self.received / max(now - self.began, 0.001)

    def end(self, reason: str) -> None:
        """Have its reader stop now."""
        self.ended_for = reason
        self.clock.reschedule(0.0)


class Bodies:
    """The bodies of one process that are coming in."""

    def __init__(self, limits: Limits, files: Pool) -> None:
        self._limits = limits
        self._files = files
        self._groups: dict[str, set[_Incoming]] = {}
        self._all: set[_Incoming] = set()
        self.memory = 0
        """Bytes of all bodies in memory: those that come, and those that are whole and not answered yet."""

    @property
    def half_sent(self) -> int:
        """How many are not here as a whole."""
        return len(self._all)

    async def read(self, environ: dict[str, Any], receive: Receive, first: bytes, *, upload: bool) -> Body:
        """The whole body, of which ``first`` is here already. Raises Disconnected and Refused.

        Reading ends when more has come than the address takes; the application says so then.
        """
        limits = self._limits
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as clock:
                incoming = _Incoming(loop.time(), clock)
                with ExitStack() as stack:
                    self._enter(stack, incoming, environ, upload=upload)
                    stack.callback(self._forget, incoming)
                    await self._take(incoming, environ, first, upload=upload)
                    complete = False
                    while incoming.received <= limits.bytes_of(upload=upload):
                        clock.reschedule(self._deadline(incoming, upload=upload))
                        message = await receive()
                        if incoming.ended_for:
                            raise TimeoutError  # It was ended and woken by a last piece in the same turn of the loop.
                        if message["type"] != "http.request":
                            raise Disconnected
                        await self._take(incoming, environ, message["body"], upload=upload)
                        if not message["more_body"]:
                            complete = True
                            break
                    return await self._finished(incoming, complete=complete)
        except TimeoutError:
            if incoming.ended_for:
                answer = refusals.overloaded(environ, "Too many bodies come in slowly; this one came slowest.")
                raise Refused(answer, incoming.ended_for) from None
            raise Refused(refusals.too_slow(environ, "The body did not arrive in time."), "body-slow") from None

    def _deadline(self, incoming: _Incoming, *, upload: bool) -> float:
        limits = self._limits
        whole = limits.upload_s if upload else limits.body_s
        return incoming.began + min(whole, limits.body_grace_s + incoming.received / limits.body_bytes_per_s)

    def _enter(self, stack: ExitStack, incoming: _Incoming, environ: dict[str, Any], *, upload: bool) -> None:
        """Count it among those of its address and its key, made up or not. Raises Refused."""
        limits = self._limits
        address = client_address(environ, trusted_proxies=settings.TRUSTED_PROXIES)
        key = (environ.get("HTTP_AUTHORIZATION") or environ.get("HTTP_X_API_KEY", ""))[:_LONGEST_KEY]
        stack.enter_context(self._among(f"address {address}", limits.bodies_per_address, incoming, environ))
        if key:
            stack.enter_context(self._among(f"key {key}", limits.bodies_per_key, incoming, environ))
        if upload:
            if key:
                stack.enter_context(self._among(f"uploads {key}", _UPLOADS_PER_KEY, incoming, environ))
            stack.enter_context(self._among("uploads", limits.uploads, incoming, environ))
        self._all.add(incoming)
        stack.callback(self._all.discard, incoming)

    @contextmanager
    def _among(self, name: str, bound: int, incoming: _Incoming, environ: dict[str, Any]) -> Iterator[None]:
        group = self._groups.setdefault(name, set())
        if len(group) >= bound and not self._end_slowest(group, incoming.began, "body-crowded"):
            raise Refused(refusals.overloaded(environ, "Too many bodies come in at the same time."), "body-crowded")
        group.add(incoming)
        try:
            yield
        finally:
            group.discard(incoming)
            if not group:
                self._groups.pop(name, None)

    def end_slowest(self) -> bool:
        """Have one make room; whether there is one that may be called slow."""
        return self._end_slowest(self._all, asyncio.get_running_loop().time(), "body-crowded")

    def _end_slowest(self, group: set[_Incoming], now: float, reason: str) -> bool:
        """Whether one was found that may be called slow."""
        old = [each for each in group if now - each.began >= _YOUNG_S and not each.ended_for]
        if not old:
            return False
        min(old, key=lambda each: each.rate(now)).end(reason)
        return True

    async def _take(self, incoming: _Incoming, environ: dict[str, Any], piece: bytes, *, upload: bool) -> None:
        incoming.received += len(piece)
        incoming.pieces.append(piece)
        incoming.in_memory += len(piece)
        self.memory += len(piece)
        if upload and incoming.in_memory > (_MEMORY_BYTES if incoming.file is None else _WRITE_BYTES):
            await self._write(incoming, environ)
        if self.memory > self._limits.bodies_in_memory:
            now = asyncio.get_running_loop().time()
            if not self._end_slowest(self._all - {incoming}, now, "body-memory"):
                self._refuse_for_memory(environ)

    def hold(self, size: int, environ: dict[str, Any]) -> None:
        """Count a body that came at once. Raises Refused where there is no room for it."""
        if self.memory + size > self._limits.bodies_in_memory:
            self._refuse_for_memory(environ)
        self.memory += size

    def _refuse_for_memory(self, environ: dict[str, Any]) -> NoReturn:
        answer = refusals.overloaded(environ, "The bodies of all calls need more memory than there is for them.")
        raise Refused(answer, "body-memory")

    async def _write(self, incoming: _Incoming, environ: dict[str, Any]) -> None:
        if incoming.file is None:
            try:
                incoming.file = await self._files.submit(partial(_open, int(environ.get("CONTENT_LENGTH") or 0)))
            except PlatformError as error:
                raise Refused(refusals.refused(error, environ), "uploads") from error
        file, content = incoming.file, b"".join(incoming.pieces)
        incoming.pieces.clear()
        self.memory -= incoming.in_memory
        incoming.in_memory = 0
        await self._files.submit(partial(file.write, content))

    async def _finished(self, incoming: _Incoming, *, complete: bool) -> Body:
        content = b"".join(incoming.pieces)
        if incoming.file is None:
            self.memory += len(content)  # The front lets go of it when the request is answered.
            return Body(BytesIO(content), len(content), complete)
        await self._files.submit(partial(_close_writing, incoming.file, content))
        file, incoming.file = incoming.file, None
        return Body(file, 0, complete)

    def _forget(self, incoming: _Incoming) -> None:
        self.memory -= incoming.in_memory
        if incoming.file is not None:
            incoming.file.close()


def _open(size: int) -> IO[bytes]:
    room.require_disk(more_bytes=size)
    return TemporaryFile(dir=storage.folder_of_incoming())


def _close_writing(file: IO[bytes], content: bytes) -> None:
    file.write(content)
    file.seek(0)
