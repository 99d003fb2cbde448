"""Answers on their way from the WSGI application to the socket."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from threading import Semaphore
from typing import Any, Final

Headers = list[tuple[bytes, bytes]]

PIECE: Final = 64 * 1024
_PIECES_AHEAD: Final = 8


class ReaderGone(Exception):
    """The client of a streamed answer has left, or takes it too slowly."""


class Stream:
    """Pieces that a thread makes while the loop sends them, at most eight ahead of the client."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, patience_s: float) -> None:
        self._loop = loop
        self._patience_s = patience_s
        self._room = Semaphore(_PIECES_AHEAD)
        self._pieces: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
        self._abandoned = False

    def fill(self, pieces: Iterator[bytes]) -> None:
        """Of the thread: put all pieces. Raises ReaderGone."""
        try:
            for piece in pieces:
                if not self._room.acquire(timeout=self._patience_s) or self._abandoned:
                    raise ReaderGone
                self._put(piece)
        except BaseException as error:
            self._put(error)
            raise
        self._put(None)

    def _put(self, item: bytes | BaseException | None) -> None:
        self._loop.call_soon_threadsafe(self._pieces.put_nowait, item)

    async def next(self) -> bytes | None:
        """Of the loop: the next piece, or None at the end. Raises what broke off the making."""
        item = await self._pieces.get()
        if isinstance(item, BaseException):
            raise ReaderGone from item
        self._room.release()
        return item

    def abandon(self) -> None:
        """Of the loop: the client reads no more."""
        self._abandoned = True
        self._room.release()


@dataclass(slots=True)
class Answer:
    """One answer; its body is whole, a file, or a stream."""

    status: int
    headers: Headers
    body: bytes = b""
    file: Any = None
    stream: Stream | None = None
    head: bytes = b""
    """The headers as they are sent, once they are written down."""

    def make_whole(self) -> "Answer":
        """Write the headers down. Raises ValueError for one that would be two."""
        lines = b"".join([name.lower() + b": " + value + b"\r\n" for name, value in self.headers])
        if lines.count(b"\n") != len(self.headers) or lines.count(b"\r") != len(self.headers) or b"\0" in lines:
            raise ValueError("a header with a line break")
        self.head = lines
        return self


def encoded(headers: Iterable[tuple[str, str]]) -> Headers:
    """Headers as uvicorn takes them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
