"""Packed bytes, unpacked piece by piece: no more is ever in memory than a piece and what the caller keeps of it."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

from mlplatform.lib.errors import ErrorKind, PlatformError

USUAL: Final = ("gzip",)
"""The codings that every HTTP face takes."""
WINDOW_BITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""Of every coding that can be unpacked. "deflate" is the zlib format (RFC 9110), whatever some browsers once made of it."""
_PIECE: Final = 64 * 1024
_MAX_MEMBERS: Final = 1_000
"""Of one body. Each costs some microseconds even if nothing is in it; 20 bytes are enough for one."""


def packed_limit(limit: int) -> int:
    """The most bytes that ``limit`` bytes can need when they are packed by any usual program."""
    return limit + limit // 64 + 1024


def unpacked(pieces: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """What the pieces hold, in pieces of at most 64 KiB. Raises MALFORMED for what is not of this coding or cut off.

    gzip may have several members, one after the other, as its RFC 1952 says. Nothing at all unpacks to nothing.
    """
    unpacker: Any = None
    members = 0
    for piece in pieces:
        left = piece
        while left:
            if unpacker is None or unpacker.eof:
                if members and (coding != "gzip" or left[:1] != b"\x1f"):
                    raise _malformed(f"Something follows the end of the {coding} body.")
                members += 1
                if members > _MAX_MEMBERS:
                    raise _malformed(f"The {coding} body has more than {_MAX_MEMBERS:,} members; pack it as one.")
                unpacker = zlib.decompressobj(WINDOW_BITS[coding])
            while True:
                try:
                    part = unpacker.decompress(left, _PIECE)
                except zlib.error as error:
                    raise _malformed(f"The body is not {coding}, or is damaged.") from error
                left = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
                if part:
                    yield part
                # A full part may be followed by more of what was read already.
                if unpacker.eof or (not left and len(part) < _PIECE):
                    break
    if unpacker is not None and not unpacker.eof:
        raise _malformed(f"The {coding} body is cut off.")


def _malformed(detail: str) -> PlatformError:
    return PlatformError(ErrorKind.MALFORMED, detail)
