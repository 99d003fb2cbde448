"""``POST /v2/models/{model}/versions`` with a zip, ``GET /v2/models/{model}/versions/{version}``: what became of it, and
``POST …/retire``: its end.

For keys with the scope ``models:write``: a tenant's push to its private models, an operator's to all. The zip is streamed into
a file and never held in memory; it comes as the body or as the field ``package`` of a form, with its length or in chunks.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, BinaryIO, Final, cast

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import QueryDict
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.utils.datastructures import MultiValueDict
from rest_framework.request import Request
from rest_framework.response import Response

from billing.rest.views import KeyedView
from inference import registry
from inference.models import ModelVersion
from inference.packages import push, turns
from inference.representations import fields
from inference.rest.auditing import audited
from inference.rollouts.managing import can_be_asked, model_of, version_of
from mlplatform.lib import request_body
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants.authentication import Caller
from tenants.models import Tenant
from tenants.rest.call import Reply

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
            source = _Source(request.META)
            alone = nullcontext() if caller.operator else turns.turn(caller.tenant_id)
            with _slot(), alone, audited(call, caller):
                owner = None if caller.operator else Tenant.objects.get(pk=caller.tenant_id)
                with source.opened() as zipped:
                    version = push.push(source=zipped, owner=owner, by=None, operator=caller.operator, name=model)
            place = f"/v2/models/{version.model.name}/versions/{version.version}"
            return Reply(shown(version), status=201, headers={"Location": place})

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


class _Source:
    """Where the zip of a call comes from. Raises at once for what headers show: UNSUPPORTED_MEDIA_TYPE, MALFORMED, or
    PAYLOAD_TOO_LARGE before a byte of it was stored."""

    def __init__(self, meta: dict[str, Any]) -> None:
        body = request_body.of(meta)
        if body.is_none:
            raise PlatformError(ErrorKind.MALFORMED, "Send the zip as the body; this one is empty.")
        self._content_type: str = meta.get("CONTENT_TYPE", "")
        media_type = self._content_type.partition(";")[0].strip().lower()
        if media_type not in {ZIP, FORM}:
            raise PlatformError(
                ErrorKind.UNSUPPORTED_MEDIA_TYPE, f"Send a zip as {ZIP}, or in the field {FIELD!r} of {FORM}."
            )
        self._is_form = media_type == FORM
        limit = settings.MAX_PACKAGE_BYTES + (_FORM_EXTRA_BYTES if self._is_form else 0)
        self._sent = body.stream(limit=limit, refusal=push.too_large)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The zip as a stream. Raises MALFORMED, PAYLOAD_TOO_LARGE, or INVALID_INPUT for a form without it."""
        if not self._is_form:
            yield self._sent
            return
        texts, files = self._parsed()
        try:
            if list(texts) or list(files) != [FIELD] or len(files.getlist(FIELD)) != 1:
                raise invalid(FIELD, f"Send one file in the field {FIELD!r} and nothing else.")
            yield cast(BinaryIO, files[FIELD])
        finally:
            for each in (one for name in files for one in files.getlist(name)):
                each.close()

    def _parsed(self) -> "tuple[QueryDict, MultiValueDict[str, UploadedFile[bytes]]]":
        # Not the usual handlers, which keep a file in memory when its length is not told.
        meta = {"CONTENT_TYPE": self._content_type, "CONTENT_LENGTH": str(settings.MAX_PACKAGE_BYTES)}
        try:
            return MultiPartParser(meta, cast(Any, self._sent), [TemporaryFileUploadHandler()], "utf-8").parse()
        except (MultiPartParserError, SuspiciousOperation, RequestDataTooBig) as error:
            raise PlatformError(ErrorKind.MALFORMED, "The form cannot be read.") from error
