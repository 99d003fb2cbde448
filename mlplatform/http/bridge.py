"""Runs the WSGI application for one request, on a thread of the pool."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from io import RawIOBase
from itertools import chain
from typing import Any, Final

from mlplatform.http import refusals
from mlplatform.http.answers import Answer, ReaderGone, Stream, encoded
from mlplatform.http.environ import FileWrapper
from mlplatform.http.pool import Continued
from mlplatform.lib.errors import ErrorKind, PlatformError

logger = logging.getLogger(__name__)

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_WHOLE_BYTES: Final = 256 * 1024
"""Of a file, or of pieces: up to here they are one body, and no thread or file waits for its reader."""


class _BodyWanted(BaseException):
    """The application reads the body. No Exception, so that nothing on the way up makes an answer of it."""


class _NoBody(RawIOBase):
    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise _BodyWanted

    def read(self, size: int = -1) -> bytes:
        raise _BodyWanted

    def readline(self, size: int | None = -1) -> bytes:
        raise _BodyWanted


class Bridge:
    """The application, as the front calls it."""

    def __init__(self, application: WSGIApplication, *, reader_s: float) -> None:
        self._application = application
        self._reader_s = reader_s

    def answer(self, environ: dict[str, Any], loop: asyncio.AbstractEventLoop) -> Answer | Continued:
        """The answer to a whole request. It goes on where the body is made bit by bit and is large."""
        try:
            return self._answer(environ, loop)
        except Exception:
            logger.exception("the application failed")
            error = PlatformError(ErrorKind.INTERNAL, "Something went wrong here; the request id helps us to find it.")
            return refusals.refused(error, environ)

    def answer_without_body(
        self, environ: dict[str, Any], loop: asyncio.AbstractEventLoop
    ) -> Answer | Continued | None:
        """What the application answers before it reads the body: a refusal. None where it would read it."""
        try:
            return self.answer({**environ, "wsgi.input": _NoBody()}, loop)
        except _BodyWanted:
            return None

    def _answer(self, environ: dict[str, Any], loop: asyncio.AbstractEventLoop) -> Answer | Continued:
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            started[:] = (int(status[:3]), headers)

        result = self._application(environ, start_response)
        if type(result) is tuple and len(result) == 1:
            return _measured(Answer(started[0], encoded(started[1]), result[0]))
        if isinstance(result, FileWrapper):
            return _of_file(started, result.file)
        close: Callable[[], None] = getattr(result, "close", lambda: None)
        pieces = iter(result)
        # What Django does not stream is in memory already.
        is_whole = isinstance(result, list) or not getattr(result, "streaming", True)
        head, more = (list(pieces), False) if is_whole else _up_to(_WHOLE_BYTES, pieces)
        answer = Answer(started[0], encoded(started[1]))
        if not more:
            close()
            answer.body = b"".join(head)
            return _measured(answer)
        answer.stream = Stream(loop, patience_s=self._reader_s)
        return Continued(answer, partial(_fill, answer.stream, chain(head, pieces), close))


def _up_to(size: int, pieces: Iterator[bytes]) -> tuple[list[bytes], bool]:
    """The pieces, as long as they are not larger together; and whether there may be more."""
    taken = []
    for piece in pieces:
        taken.append(piece)
        size -= len(piece)
        if size < 0:
            return taken, True
    return taken, False


def _of_file(started: list[Any], file: Any) -> Answer:
    answer = Answer(started[0], encoded(started[1]), file.read(_WHOLE_BYTES))
    if len(answer.body) < _WHOLE_BYTES:
        file.close()
        return _measured(answer)
    answer.file = file
    return answer


def _measured(answer: Answer) -> Answer:
    """Whole, with its length where the application did not say it."""
    has_body = answer.status >= 200 and answer.status not in {204, 304}
    if has_body and not any(name.lower() == b"content-length" for name, _ in answer.headers):
        answer.headers.append((b"Content-Length", b"%d" % len(answer.body)))
    return answer.make_whole()


def _fill(stream: Stream, pieces: Iterator[bytes], close: Callable[[], None]) -> None:
    with suppress(ReaderGone):
        try:
            stream.fill(pieces)
        finally:
            close()
