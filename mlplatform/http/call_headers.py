"""What the headers of an ordinary call say; and of those that came before, for a client sends the same with each call."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.conf import settings

from inference.calls.cache_control import policy as cache_policy
from inference.calls.context import timeout_s
from inference.types import CachePolicy
from mlplatform.lib.errors import PlatformError

_ON_THREADS: Final = frozenset({b"origin", b"content-encoding", b"expect", b"transfer-encoding"})
"""Headers of calls that a thread answers: CORS, and bodies that need more than parsing."""
_JSON: Final = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
_OF_ONE_CALL: Final = (b"x-request-id", b"traceparent")
"""Headers that no other call has; with one of them they are not kept."""
_MOST: Final = 1024
_MOST_BYTES: Final = 2048
"""Of names and values of one call: what is kept is a few megabytes at most."""

Sent = Sequence[tuple[bytes, bytes]]
"""Names in lower case, in the order in which they came."""


class CallHeaders:
    """Of one call. ``environ`` is what packing asks, as WSGI has it."""

    __slots__ = (
        "api_key",
        "api_version",
        "authorization",
        "cache",
        "client",
        "environ",
        "request_id",
        "timeout_s",
        "traceparent",
    )

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises MALFORMED for a time-out that is none."""

        def text(name: bytes) -> str:
            return headers.get(name, b"").decode("latin-1")

        self.authorization = text(b"authorization")
        self.api_key = text(b"x-api-key")
        self.api_version = text(b"api-version")
        """What the client wants it to be; empty where the address alone says it."""
        self.client = text(b"user-agent").strip()
        self.timeout_s = timeout_s(text(b"x-request-timeout"), text(b"prefer"))
        self.cache: CachePolicy = cache_policy(text(b"cache-control"))
        self.environ: dict[str, Any] = {"HTTP_ACCEPT_ENCODING": text(b"accept-encoding")}
        if b"cookie" in headers:
            self.environ["HTTP_COOKIE"] = text(b"cookie")
        self.request_id = text(b"x-request-id")
        self.traceparent = text(b"traceparent")


class Reader:
    """Of one process, for the loop's thread."""

    def __init__(self) -> None:
        self._https_only = settings.SECURE_SSL_REDIRECT
        self._known: dict[tuple[tuple[bytes, bytes], ...], CallHeaders] = {}

    def read(self, sent: Sent) -> CallHeaders | None:
        """What they say; None where they are out of the ordinary, or wrong."""
        as_sent = tuple(sent)
        known = self._known.get(as_sent)
        if known is not None:
            return known
        headers = self._ordinary(as_sent)
        if headers is None:
            return None
        try:
            read = CallHeaders(headers)
        except PlatformError:
            return None
        if not any(name in headers for name in _OF_ONE_CALL):
            self._keep(as_sent, read)
        return read

    def _keep(self, as_sent: tuple[tuple[bytes, bytes], ...], read: CallHeaders) -> None:
        if sum(len(name) + len(value) for name, value in as_sent) > _MOST_BYTES:
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[as_sent] = read

    def _ordinary(self, sent: Sent) -> Mapping[bytes, bytes] | None:
        headers: dict[bytes, bytes] = {}
        for name, value in sent:
            if name in _ON_THREADS or name in headers:
                return None
            headers[name] = value
        if headers.get(b"content-type", b"").lower() not in _JSON:
            return None
        return None if self._https_only and not _is_https(headers) else headers


def _is_https(headers: Mapping[bytes, bytes]) -> bool:
    header = settings.SECURE_PROXY_SSL_HEADER
    if not header:
        return False
    name = header[0].removeprefix("HTTP_").lower().replace("_", "-").encode()
    value: bool = headers.get(name, b"").decode("latin-1").split(",")[0].strip() == header[1]
    return value
