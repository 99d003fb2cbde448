"""Bodies of pages for people: bounded before anything reads them, and made whole where they came in chunks or packed.

Django reads a body by its Content-Length, takes one without it for empty, and writes the files of a form to disk without any
bound, before it knows who sends them. API calls read their bodies themselves, by ``mlplatform.lib.request_body``.
"""

from collections.abc import Callable
from tempfile import SpooledTemporaryFile
from typing import Any, Final, cast

from django.conf import settings
from django.core.handlers.wsgi import LimitedStream
from django.http import HttpRequest, HttpResponse
from django.urls import reverse_lazy

from inference.registry.packages import push
from mlplatform.lib import request_body
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.http import problems

_WITHOUT_BODIES: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_UPLOADS: Final = reverse_lazy("admin:inference_modelversion_upload")
_FORM_EXTRA_BYTES: Final = 64 * 1024
_IN_MEMORY_BYTES: Final = 1024 * 1024


class PeoplesBodiesMiddleware:
    """Stands behind the one that says who is signed in, and before any that reads a form. No call with a key comes here."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method in _WITHOUT_BODIES:
            return self._get_response(request)
        try:
            with_file = _made_whole(request)
        except PlatformError as error:
            return problems.plain_response(error, request)
        try:
            return self._get_response(request)
        finally:
            if with_file is not None:
                with_file.close()


def _made_whole(request: HttpRequest) -> Any:
    """The file that holds the body now, or None where it can be read as it comes. Raises as ``RequestBody.parts`` does."""
    meta = request.META
    body = request_body.of(meta)
    limit, refusal = _bound(request)
    parts = body.parts(limit=limit, refusal=refusal)
    if not body.in_chunks and not body.is_packed:
        return None
    if body.in_chunks and not body.is_packed and request.content_type == "application/x-www-form-urlencoded":
        # It would look whole wherever it was cut off, and a field that is half there may be another order.
        raise PlatformError(ErrorKind.MALFORMED, "A form without files has no end of its own; send its Content-Length.")
    file = SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - closed when the request was answered
    try:
        size = sum(file.write(part) for part in parts)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    request_body.replace(meta, file, size)
    request._stream = cast(Any, LimitedStream)(file, size)
    return file


def _bound(request: HttpRequest) -> tuple[int, Callable[[], PlatformError] | None]:
    if request.path_info != str(_UPLOADS):
        return settings.MAX_BODY_BYTES, None
    user = getattr(request, "user", None)
    if user is None or not user.is_active or not user.is_staff:
        raise PlatformError(ErrorKind.FORBIDDEN, "Sign in as staff first; the package was not read.")
    return settings.MAX_PACKAGE_BYTES + _FORM_EXTRA_BYTES, push.too_large
