"""Answers above 1 kB go out as gzip where the client says that it takes it; smaller ones are not looked at.

gzip alone, and level 1: numbers written as text, which most large answers are, become half as large at once and hardly
smaller for five times the work. Pages for people, whose browsers send a cookie with whatever another site makes them ask, get
a random length besides (BREACH); calls with a key cannot be made by another site, so their answers need none.
"""

import gzip
import re
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.text import compress_string

MIN_BYTES: Final = 1024
_LEVEL: Final = 1
_RANDOM_BYTES: Final = 100
_MAX_HEADER: Final = 500
"""Of an ``Accept-Encoding``, whose wish is remembered; browsers send 30 characters."""
_TEXTUAL: Final = re.compile(r"text/|application/(?:[\w.-]+\+)?(?:json|xml|yaml|javascript)\b")
_QUALITY: Final = re.compile(r"\s*;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", re.ASCII)


class Wish(Enum):
    """What ``Accept-Encoding`` wants of gzip. ALWAYS: the plain answer is refused, however small it is."""

    NEVER = 0
    WHERE_IT_HELPS = 1
    ALWAYS = 2


@lru_cache(maxsize=256)
def wish_of(header: str) -> Wish:
    """The wish of an ``Accept-Encoding`` (RFC 9110). One that refuses gzip and the plain answer alike gets the plain one."""
    qualities: dict[str, float] = {}
    for part in header.lower().split(","):
        name, semicolon, _ = part.partition(";")
        quality = _QUALITY.fullmatch(part[len(name) :]) if semicolon else None
        if semicolon and quality is None:
            continue
        qualities.setdefault(name.strip(), float(quality[1]) if quality else 1.0)
    packed = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0)))
    plain = qualities.get("identity", 0.0 if qualities.get("*") == 0 else None)
    if packed <= 0 or (plain is not None and plain > packed):
        return Wish.NEVER
    return Wish.ALWAYS if plain == 0 else Wish.WHERE_IT_HELPS


def applies(meta: dict[str, Any], size: int) -> bool:
    """Whether an answer of this size may be packed for this call at all."""
    return size > MIN_BYTES or "q=0" in meta.get("HTTP_ACCEPT_ENCODING", "")


def packed(meta: dict[str, Any], body: bytes) -> bytes | None:
    """The body as gzip, or None where the client does not want it or nothing is won. Such an answer varies too."""
    wish = wish_of(meta.get("HTTP_ACCEPT_ENCODING", "")[:_MAX_HEADER])
    if wish is Wish.NEVER or (wish is Wish.WHERE_IT_HELPS and len(body) <= MIN_BYTES) or not body:
        return None
    if meta.get("HTTP_COOKIE"):
        content = compress_string(body, max_random_bytes=_RANDOM_BYTES)
    else:
        content = gzip.compress(body, _LEVEL, mtime=0)
    return content if wish is Wish.ALWAYS or len(content) < len(body) else None


class CompressionMiddleware:
    """Packs the answers that come through Django. Those of the door are packed there."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if not response.streaming and applies(request.META, len(response.content)) and _may_pack(request, response):
            patch_vary_headers(response, ["Accept-Encoding"])
            content = packed(request.META, response.content)
            if content is not None:
                _replace(response, content)
        return response


def _may_pack(request: HttpRequest, response: HttpResponse) -> bool:
    headers = response.headers
    return (
        "Content-Encoding" not in headers
        and "no-transform" not in headers.get("Cache-Control", "")
        and _TEXTUAL.match(headers.get("Content-Type", "")) is not None
        and _is_unpacked_by_its_clients(request, response)
    )


def _is_unpacked_by_its_clients(request: HttpRequest, response: HttpResponse) -> bool:
    # Triton's asynchronous client says by aiohttp's default that it takes gzip, but unpacks the answers of infer alone.
    path = request.path_info
    return not path.startswith("/oip/") or (path.endswith("/infer") and response.status_code == 200)


def _replace(response: HttpResponse, content: bytes) -> None:
    response.content = content
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Content-Length"] = str(len(content))
    etag = response.headers.get("ETag", "")
    if etag.startswith('"'):
        response.headers["ETag"] = f"W/{etag}"  # The same content, but not the same bytes.
