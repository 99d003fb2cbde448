"""The body of a call: read up to the limit and no further, unpacked up to the same limit where it is compressed."""

import zlib
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest

from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.rest.parsers import too_large

# "deflate" is the zlib format (RFC 9110), whatever some browsers once made of it.
_WINDOW_BITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def read(request: HttpRequest) -> bytes:
    """Raises PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE for an unknown compression, MALFORMED for a broken one."""
    limit: int = settings.MAX_BODY_BYTES
    body = request.read(limit + 1)
    if len(body) > limit:
        raise too_large(limit)
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    return body if encoding in {"", "identity"} else _unpacked(body, encoding, limit)


def _unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """A bomb is stopped where it passes the limit: no more than that is ever in memory."""
    bits = _WINDOW_BITS.get(encoding)
    if bits is None:
        raise PlatformError(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE, f"The body is encoded as {encoding[:32]}; send it as it is, or by gzip."
        )
    unpacker: Any = zlib.decompressobj(bits)
    try:
        unpacked: bytes = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise PlatformError(ErrorKind.MALFORMED, f"The body is not {encoding}.") from error
    if len(unpacked) > limit:
        raise too_large(limit)
    if not unpacker.eof or unpacker.unused_data:
        raise PlatformError(ErrorKind.MALFORMED, f"The {encoding} body is cut off, or something follows it.")
    return unpacked
