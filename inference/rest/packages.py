"""``POST /v2/models/{model}/versions`` with a zip, ``GET /v2/models/{model}/versions/{version}``: what became of it, and
``POST …/retire``: its end.

For keys with the scope ``models:write``: a tenant's push to its private models, an operator's to all. The zip is streamed into
a file and never held in memory; it comes as the body or as the field ``package`` of a form.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, BinaryIO, Final, cast

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from rest_framework.request import Request
from rest_framework.response import Response

from billing.rest.views import KeyedView
from inference import model_names, registry
from inference.models import ModelVersion
from inference.packages import push, turns
from inference.representations import fields
from inference.rest.auditing import audited
from inference.rollouts.managing import can_be_asked, model_of, version_of
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants.authentication import Caller
from tenants.models import Tenant
from tenants.rest.call import Reply
from tenants.rest.parsers import require_plain

SCOPE: Final = "models:write"
FIELD: Final = "package"
ZIP: Final = "application/zip"
FORM: Final = "multipart/form-data"
_FORM_EXTRA_BYTES: Final = 64 * 1024
_AT_ONCE: Final = 2
_slots = threading.BoundedSemaphore(_AT_ONCE)
"""A check may use a core and gigabytes for minutes; the other threads of the process have predictions to answer."""


class VersionsView(KeyedView):
    """Push a version."""

    def post(self, request: Request, model: str, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> Reply:
            if not caller.may_use(model) or not can_be_asked(model):
                raise registry.not_found(model)
            django_request = request._request
            _require_size(django_request)
            alone = nullcontext() if caller.operator else turns.turn(caller.tenant_id)
            with _slot(), alone, audited(call, caller):
                owner, name = _owner_of(caller, model)
                version = push.push(
                    source=_zip_of(django_request), owner=owner, by=None, operator=caller.operator, name=name
                )
            place = f"/v2/models/{model}/versions/{version.version}"
            return Reply(shown(version) | {"notices": push.notices(version)}, status=201, headers={"Location": place})

        return self.read(request, SCOPE, handle)


class VersionView(KeyedView):
    """The state of one version, and why it cannot be served if it cannot."""

    def get(self, request: Request, model: str, version: str, path_version: str = "") -> Response:
        return self.read(
            request, SCOPE, lambda caller, api_version: shown(version_of(model_of(caller, model), version))
        )


class RetireView(KeyedView):
    """The end of a version that is not live."""

    def post(self, request: Request, model: str, version: str, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> dict[str, Any]:
            fields.only(call.json_object(), ())
            row = version_of(model_of(caller, model), version)
            with audited(call, caller):
                registry.retire(version=row)
            row.refresh_from_db()
            return shown(row)

        return self.read(request, SCOPE, handle)


def shown(version: ModelVersion) -> dict[str, Any]:
    """A version as whoever manages it sees it."""
    return {
        "model": version.model.name,
        "version": version.version,
        "state": version.state,
        "load_error": version.load_error or None,
        "task": version.runtime,
        "sha256": version.sha256,
        "size_bytes": version.size_bytes,
        "created_at": version.created_at.isoformat().replace("+00:00", "Z"),
    }


def _owner_of(caller: Caller, model: str) -> tuple[Tenant | None, str]:
    """Whose model it is, and its name there. Raises NOT_FOUND where an operator's address names a tenant that is not there."""
    if not caller.operator:
        return Tenant.objects.get(pk=caller.tenant_id), model
    namespace, _, name = model_names.of_address(model).rpartition(model_names.SEPARATOR)
    owner = Tenant.objects.filter(slug=namespace).first() if namespace else None
    if namespace and owner is None:
        raise registry.not_found(model)
    return owner, name


@contextmanager
def _slot() -> Iterator[None]:
    if not _slots.acquire(blocking=False):
        raise PlatformError(
            ErrorKind.OVERLOADED, "Other packages are being checked; nothing was stored.", retry_after_s=5.0
        )
    try:
        yield
    finally:
        _slots.release()


def _require_size(request: HttpRequest) -> None:
    """Refuse by the header, before a byte of the body is read."""
    require_plain(request.META)
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) == 0:
        raise PlatformError(ErrorKind.MALFORMED, "Send the zip with its Content-Length.")
    if int(length) > settings.MAX_PACKAGE_BYTES + _FORM_EXTRA_BYTES:
        raise push.too_large()


def _zip_of(request: HttpRequest) -> BinaryIO:
    """The zip as a stream. Raises UNSUPPORTED_MEDIA_TYPE, MALFORMED, or INVALID_INPUT for a form without it."""
    media_type = (request.content_type or "").lower()
    if media_type == ZIP:
        return cast(BinaryIO, request)
    if media_type != FORM:
        raise PlatformError(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE, f"Send a zip as {ZIP}, or in the field {FIELD!r} of {FORM}."
        )
    try:
        files, texts = request.FILES, request.POST
    except (MultiPartParserError, SuspiciousOperation, RequestDataTooBig) as error:
        raise PlatformError(ErrorKind.MALFORMED, "The form cannot be read.") from error
    if list(texts) or list(files) != [FIELD] or len(files.getlist(FIELD)) != 1:
        raise invalid(FIELD, f"Send one file in the field {FIELD!r} and nothing else.")
    return cast(BinaryIO, files[FIELD])
