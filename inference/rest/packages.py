"""``POST /v2/models/{model}/versions`` with a zip, ``GET /v2/models/{model}/versions/{version}``: what became of it, and
``POST …/retire``: its end.

For keys with the scope ``models:write``: a tenant's push to its private models, an operator's to all. The zip is streamed into
a file and never held in memory; it comes as the body or as the field ``package`` of a form, with its length or in chunks.
"""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import IO, Any, BinaryIO, Final, cast

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
from inference.models import ModelVersion
from inference.registry import names, versions
from inference.registry.packages import push, storage, turns
from inference.registry.rollouts.managing import can_be_asked, model_of, version_of
from inference.rest.auditing import audited
from inference.rest.rollout_answers import PushedVersion
from mlplatform.lib import clock, request_body
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants.authentication import Caller
from tenants.http import messages
from tenants.http.answers import UNSET, Absent
from tenants.http.call import Reply
from tenants.http.json_schemas import Schema
from tenants.http.messages import EmptyRequest
from tenants.models import Tenant
from tenants.rest.declarations import ApiOperation, documented, header, in_path

SCOPE: Final = "models:write"
FIELD: Final = "package"
ZIP: Final = "application/zip"
FORM: Final = "multipart/form-data"
_FORM_EXTRA_BYTES: Final = 64 * 1024
_AT_ONCE: Final = 2
_CHUNK: Final = 1024 * 1024
permits = threading.BoundedSemaphore(_AT_ONCE)
"""A check may use a core and gigabytes for minutes; the other threads of the process have predictions to answer."""


_TAG: Final = "Rollouts"
_TEXT: Final[Schema] = {"type": "string"}
_ZIP: Final[Schema] = {"type": "string", "contentMediaType": ZIP, "format": "binary"}
_MODEL: Final = in_path("model", "The model's name, without a version.", {"type": "string"})
_VERSION: Final = in_path("version", "Such as `1.2.0`.", {"type": "string"})
_SCOPED: Final = "Needs the scope `models:write`, of a key of the tenant that owns the model or of an operator."


@documented(
    post=ApiOperation(
        id="pushVersion",
        tag=_TAG,
        summary="Push a model version",
        description="A zip with `model.toml`, weights as safetensors, and tokenizer files: see `docs/serve-your-model.md`. It is "
        "checked before this answers; then a worker loads it and runs its examples. A model that does not exist becomes your "
        "tenant's private one. A tenant pushes one package at a time and only so many an hour: 429 says when to come again. "
        f"{_SCOPED}",
        bodies={
            ZIP: _ZIP,
            FORM: {"type": "object", "required": [FIELD], "properties": {FIELD: _ZIP}},
        },
        answer=PushedVersion,
        status=201,
        kinds=(
            ErrorKind.PAYLOAD_TOO_LARGE,
            ErrorKind.UNSUPPORTED_MEDIA_TYPE,
            ErrorKind.INVALID_INPUT,
            ErrorKind.CONFLICT,
            ErrorKind.OVERLOADED,
        ),
        parameters=[_MODEL, header("Location", "Where its state can be read.", _TEXT, codes=[201])],
    )
)
class VersionsView(KeyedView):
    """Push a version."""

    def post(self, request: Request, model: str, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> Reply:
            if not caller.may_use(names.model_of(names.of_address(model))) or not can_be_asked(model):
                raise versions.not_found(model)
            source = _Source(request.META)
            owner, name = _owner_of(caller, model)
            alone = nullcontext() if caller.operator else turns.turn(caller.tenant_id)
            # The turn and the place are taken when the body is here: a body that does not come keeps no other push waiting.
            with source.arrived() as zipped, _slot(), alone, audited(call, caller):
                version = push.push(source=zipped, owner=owner, by=None, operator=caller.operator, name=name)
            place = f"/v2/models/{model}/versions/{version.version}"
            return Reply(_shown(version, notices=push.notices(version)), status=201, headers={"Location": place})

        return self.read(request, SCOPE, handle)


@documented(
    get=ApiOperation(
        id="getVersion",
        tag=_TAG,
        summary="The state of a version",
        description=f"What became of a pushed version. {_SCOPED}",
        answer=PushedVersion,
        parameters=[_MODEL, _VERSION],
    )
)
class VersionView(KeyedView):
    """The state of one version, and why it cannot be served if it cannot."""

    def get(self, request: Request, model: str, version: str, path_version: str = "") -> Response:
        return self.read(
            request, SCOPE, lambda caller, api_version: _shown(version_of(model_of(caller, model), version))
        )


@documented(
    post=ApiOperation(
        id="retireVersion",
        tag=_TAG,
        summary="Retire a version",
        description="Stop answering calls that pin a staged or ready version, for good; answers with the version as it is then. "
        "A live one, one that is tried, and one that callers were promised by a schedule stay: 409 says what to do first. "
        f"{_SCOPED} Costs nothing.",
        request=EmptyRequest,
        answer=PushedVersion,
        kinds=(
            ErrorKind.PAYLOAD_TOO_LARGE,
            ErrorKind.UNSUPPORTED_MEDIA_TYPE,
            ErrorKind.INVALID_INPUT,
            ErrorKind.CONFLICT,
        ),
        parameters=[_MODEL, _VERSION],
    )
)
class RetireView(KeyedView):
    """The end of a version that is not live."""

    def post(self, request: Request, model: str, version: str, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> PushedVersion:
            messages.read(call.json_object(), EmptyRequest)
            row = version_of(model_of(caller, model), version)
            with audited(call, caller):
                versions.retire(version=row)
            row.refresh_from_db()
            return _shown(row)

        return self.read(request, SCOPE, handle)


def _shown(version: ModelVersion, *, notices: list[str] | Absent = UNSET) -> PushedVersion:
    return PushedVersion(
        model=version.model.name,
        version=version.version,
        state=version.state,
        load_error=version.load_error or None,
        task=version.runtime,
        sha256=version.sha256,
        size_bytes=version.size_bytes,
        created_at=version.created_at.isoformat().replace("+00:00", "Z"),
        notices=notices,
    )


def _owner_of(caller: Caller, model: str) -> tuple[Tenant | None, str]:
    """Whose model it is, and its name there. Raises NOT_FOUND where an operator's address names a tenant that is not there."""
    if not caller.operator:
        return Tenant.objects.get(pk=caller.tenant_id), model
    namespace, _, name = names.of_address(model).rpartition(names.SEPARATOR)
    owner = Tenant.objects.filter(slug=namespace).first() if namespace else None
    if namespace and owner is None:
        raise versions.not_found(model)
    return owner, name


@contextmanager
def _slot() -> Iterator[None]:
    if not permits.acquire(blocking=False):
        raise PlatformError(
            ErrorKind.OVERLOADED, "Other packages are being checked; nothing was stored.", retry_after_s=5.0
        )
    try:
        yield
    finally:
        permits.release()


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
    def arrived(self) -> Iterator[BinaryIO]:
        """The whole zip in a file. Raises MALFORMED, PAYLOAD_TOO_LARGE, TIMEOUT, or INVALID_INPUT for a form without it."""
        if not self._is_form:
            with tempfile.TemporaryFile(dir=storage.folder_of_incoming()) as file:
                self._spool(file)
                yield cast(BinaryIO, file)
            return
        texts, files = self._parsed()
        try:
            if list(texts) or list(files) != [FIELD] or len(files.getlist(FIELD)) != 1:
                raise invalid(FIELD, f"Send one file in the field {FIELD!r} and nothing else.")
            yield cast(BinaryIO, files[FIELD])
        finally:
            for each in (one for name in files for one in files.getlist(name)):
                each.close()

    def _spool(self, file: IO[bytes]) -> None:
        until = clock.monotonic() + settings.PUSH_BODY_S
        while chunk := self._sent.read(_CHUNK):
            if clock.monotonic() > until:
                raise PlatformError(
                    ErrorKind.TIMEOUT, f"The package did not arrive within {settings.PUSH_BODY_S} s.", retry_after_s=1.0
                )
            file.write(chunk)
        file.seek(0)

    def _parsed(self) -> "tuple[QueryDict, MultiValueDict[str, UploadedFile[bytes]]]":
        # Not the usual handlers, which keep a file in memory when its length is not told.
        meta = {"CONTENT_TYPE": self._content_type, "CONTENT_LENGTH": str(settings.MAX_PACKAGE_BYTES)}
        try:
            return MultiPartParser(meta, cast(Any, self._sent), [TemporaryFileUploadHandler()], "utf-8").parse()
        except (MultiPartParserError, SuspiciousOperation, RequestDataTooBig) as error:
            raise PlatformError(ErrorKind.MALFORMED, "The form cannot be read.") from error
