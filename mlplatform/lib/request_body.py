"""The body of an HTTP request, whichever way it came: with its length or in chunks, as it is or packed.

A body is read when a handler asks for it, so that a call which is refused before costs no reading, and kept, so that a
handler that runs again for a stale caller finds it again. No more than the limit is ever in memory, whatever headers claim.

The HTTP front hands on what is whole, or more than is taken. Should another server stand before the application, one that ends
a chunked body without a word where its connection breaks, what comes in chunks must show its own end, as JSON, gzip, zip and
images do, and as is checked here for forms.
"""

from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedReader, RawIOBase
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final

from django.utils.http import parse_header_parameters

from mlplatform.lib import unpacking
from mlplatform.lib.errors import ErrorKind, PlatformError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_KEY: Final = "mlplatform.request_body"
_PIECE: Final = 64 * 1024
_LINGER_BYTES: Final = 16 * 1024 * 1024
"""How much of a body is read that is refused for its size: Node, and others that look for the answer only when they have
sent everything, would see a broken connection in place of the refusal."""
_TAIL_BYTES: Final = 4096
"""At the end of a form, where its last boundary stands."""


class UnknownCoding(PlatformError):
    """A ``Content-Encoding`` that is not taken. ``taken`` are those that are."""

    def __init__(self, coding: str, taken: tuple[str, ...]) -> None:
        super().__init__(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE,
            f"The body is encoded as {coding[:32]}; send it as it is, or with 'Content-Encoding: {taken[0]}'.",
        )
        self.taken = taken


class RequestBody:
    """One body. ``meta`` is the WSGI environment; nothing is read before it is asked for."""

    __slots__ = ("_meta", "_whole")

    def __init__(self, meta: dict[str, Any]) -> None:
        self._meta = meta
        self._whole: bytes | None = None

    @property
    def in_chunks(self) -> bool:
        """Whether the body has no length of its own, but comes as chunks."""
        return "HTTP_TRANSFER_ENCODING" in self._meta

    @property
    def is_packed(self) -> bool:
        """Whether the body must be unpacked, by whatever it says that it is packed."""
        return self._meta.get("HTTP_CONTENT_ENCODING", "").strip().lower() not in {"", "identity"}

    @property
    def is_none(self) -> bool:
        """Whether the headers say that there is no body. Raises MALFORMED for a length that is none."""
        return not self.in_chunks and self._length() == 0

    def whole(self, *, limit: int, codings: tuple[str, ...] = unpacking.USUAL) -> bytes:
        """The unpacked body; the same again when it is asked for again.

        Raises PAYLOAD_TOO_LARGE for more than ``limit`` bytes, UNSUPPORTED_MEDIA_TYPE for another ``Content-Encoding`` than
        ``codings``, and MALFORMED for what is cut off or not what it says.
        """
        if self._whole is None:
            self._whole = self._usual(limit)
        if self._whole is None:
            self._whole = b"".join(self.parts(limit=limit, codings=codings))
        return self._whole

    def _usual(self, limit: int) -> bytes | None:
        """What almost every call sends, in one read: a body as it is, with its length. None for others, unread."""
        if self.in_chunks or "HTTP_CONTENT_ENCODING" in self._meta:
            return None
        length = self._length()
        if length > limit:
            return None
        body: bytes = self._meta["wsgi.input"].read(length) if length else b""
        if len(body) < length:
            raise cut_off()
        return body

    def parts(
        self,
        *,
        limit: int,
        codings: tuple[str, ...] = unpacking.USUAL,
        refusal: Callable[[], PlatformError] | None = None,
    ) -> Iterator[bytes]:
        """The unpacked body piece by piece, once, for what is too large for memory. Raises as :meth:`whole` does, at once for
        what headers show.

        ``refusal`` makes the error for a body beyond the limit, where it is not the usual one.
        """
        refuse = refusal or partial(too_large, limit)
        coding = self._coding(codings)
        sent_limit = unpacking.packed_limit(limit) if coding else limit
        if self.in_chunks:
            self._require_chunks_alone()
            sent = _bounded(self._read_up_to(None), sent_limit, refuse)
        else:
            sent = self._counted(self._fitting(sent_limit, refuse))
        if coding:
            return _bounded(unpacking.unpacked(sent, coding), limit, refuse, rest=sent)
        return self._form(sent) if self.in_chunks else sent

    def stream(
        self,
        *,
        limit: int,
        codings: tuple[str, ...] = unpacking.USUAL,
        refusal: Callable[[], PlatformError] | None = None,
    ) -> BinaryIO:
        """:meth:`parts` as a file that can be read once."""
        return BufferedReader(_Parts(self.parts(limit=limit, codings=codings, refusal=refusal)), _PIECE)

    def _coding(self, codings: tuple[str, ...]) -> str:
        """How the body is packed; empty where it is not."""
        header = self._meta.get("HTTP_CONTENT_ENCODING", "")
        if not header:
            return ""
        named = [name for part in header.split(",") if (name := part.strip().lower()) not in {"", "identity"}]
        if not named:
            return ""
        coding = "gzip" if named[0] == "x-gzip" else named[0]  # RFC 9110: the same
        if len(named) > 1 or coding not in codings:
            raise UnknownCoding(", ".join(named), codings)
        return coding

    def _length(self) -> int:
        header = self._meta.get("CONTENT_LENGTH") or "0"
        if not (header.isascii() and header.isdecimal()):
            raise PlatformError(ErrorKind.MALFORMED, "The Content-Length is no number.")
        return int(header[:20])

    def _fitting(self, limit: int, refuse: Callable[[], PlatformError]) -> int:
        length = self._length()
        if length > limit:
            # A client that asks whether to go on has sent nothing yet.
            if length <= _LINGER_BYTES and "HTTP_EXPECT" not in self._meta:
                _let_pass(self._read_up_to(length))
            raise refuse()
        return length

    def _counted(self, length: int) -> Iterator[bytes]:
        for piece in self._read_up_to(length):
            length -= len(piece)
            yield piece
        if length:
            raise cut_off()

    def _require_chunks_alone(self) -> None:
        if self._meta["HTTP_TRANSFER_ENCODING"].strip().lower() != "chunked":
            raise PlatformError(
                ErrorKind.MALFORMED,
                "The Transfer-Encoding is chunked and nothing else; to pack a body, say 'Content-Encoding: gzip'.",
            )

    def _read_up_to(self, size: int | None) -> Iterator[bytes]:
        """All of it where ``size`` is None."""
        read = self._meta["wsgi.input"].read
        while size != 0 and (piece := read(_PIECE if size is None else min(size, _PIECE))):
            size = None if size is None else size - len(piece)
            yield piece

    def _form(self, sent: Iterator[bytes]) -> Iterator[bytes]:
        """A form in chunks, whose last boundary must stand at its end; anything else passes."""
        media_type, options = parse_header_parameters(self._meta.get("CONTENT_TYPE", ""))
        is_form = media_type.startswith("multipart/")
        tail = b""
        for piece in sent:
            tail = (tail + piece)[-_TAIL_BYTES:]
            yield piece
        if is_form and f"--{options.get('boundary', '')}--".encode() not in tail:
            raise cut_off()


class _Parts(RawIOBase):
    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        while not self._left:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._left = memoryview(part)
        target = memoryview(buffer)
        size = min(len(target), len(self._left))
        target[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def of(meta: dict[str, Any]) -> RequestBody:
    """The one body of a request, by its WSGI environment."""
    body: RequestBody | None = meta.get(_KEY)
    if body is None:
        body = meta[_KEY] = RequestBody(meta)
    return body


def replace(meta: dict[str, Any], file: IO[bytes], size: int) -> None:
    """Have the environment say that the body is this file, as it is and with its length."""
    for name in ("HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_ENCODING", _KEY):
        meta.pop(name, None)
    meta |= {"CONTENT_LENGTH": str(size), "wsgi.input": file}


def too_large(limit: int) -> PlatformError:
    """The usual answer for a body beyond the limit."""
    return PlatformError(ErrorKind.PAYLOAD_TOO_LARGE, f"The body is larger than {limit:,} bytes; split the call.")


def cut_off() -> PlatformError:
    """The one answer for a body that ends before its end."""
    return PlatformError(ErrorKind.MALFORMED, "The request cannot be read: it is cut off.")


def _bounded(
    parts: Iterator[bytes],
    limit: int,
    refuse: Callable[[], PlatformError],
    *,
    rest: Iterator[bytes] | None = None,
) -> Iterator[bytes]:
    """The parts, up to the limit. ``rest`` is where the remainder of the body comes from if not from the parts themselves."""
    size = 0
    for part in parts:
        size += len(part)
        if size > limit:
            _let_pass(parts if rest is None else rest)
            raise refuse()
        yield part


def _let_pass(pieces: Iterator[bytes]) -> None:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > _LINGER_BYTES:
            return
