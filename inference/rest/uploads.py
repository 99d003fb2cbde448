"""Bodies of predictions that are no JSON: the bytes of an image, or a form with a file.

Both become the body that JSON would have, in which the image stands as bytes in place of base64, so that nothing behind this
module knows how it came.
"""

import base64
import io
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import QueryDict
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.utils.datastructures import MultiValueDict

from inference.api_versions.messages import ImageForm
from mlplatform.lib import request_body, strict_json
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants.http import parsers
from tenants.http.call import RestCall

FORM: Final = "multipart/form-data"
IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/webp"})
_FIELDS: Final = ImageForm.__struct_fields__


def is_upload(meta: Mapping[str, Any]) -> bool:
    """Whether the call says that its body is an image or a form."""
    media_type = _media_type(meta)
    return media_type in IMAGES or media_type == FORM


def parse(meta: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    """An upload as the body of a call; a form is an :class:`ImageForm`. Raises MALFORMED, or INVALID_INPUT that names the field.

    In a form ``input`` is a file, or text for a model that takes text, and ``parameters`` are JSON.
    """
    if not body:
        raise invalid("input", "The body is empty; it is the bytes of an image.")
    if _media_type(meta) != FORM:
        return {"input": {"image": body}}
    texts, files = _form(meta, body)
    found: dict[str, Any] = {}
    for name in {*texts, *files}:
        if name not in _FIELDS:
            raise invalid(name[:64], f"Unknown field {name[:64]!r}; there are {', '.join(sorted(_FIELDS))}.")
        values = [*texts.getlist(name), *files.getlist(name)]
        if len(values) > 1:
            raise PlatformError(ErrorKind.MALFORMED, f"The form has the field {name!r} twice.", field=name)
        value = values[0]
        if isinstance(value, UploadedFile):
            if name != "input":
                raise invalid(name, f"The field {name!r} is text; only the input is a file.")
            found[name] = {"image": value.read()}
        else:
            if name != "parameters":
                found[name] = value
            elif str(value).strip():  # a part that was left blank is absent, as null is
                found[name] = _parameters(value)
    return found


def body_of(meta: dict[str, Any]) -> Any:
    """The body of a prediction by its WSGI environment: an upload, or JSON. Raises as :func:`parse` and
    :func:`parsers.json_of` do."""
    if not is_upload(meta):
        return parsers.json_of(meta)
    body = request_body.of(meta)
    return {} if body.is_none else parse(meta, body.whole(limit=settings.MAX_BODY_BYTES))


def model_of(call: RestCall, *, address: str = "") -> str:
    """The model that the address names: in its path, or as ``?model=``; empty where it names none.

    An image has no other place for it. Raises INVALID_INPUT for a path and a query that disagree, as a body is refused that
    names another model than the address.
    """
    asked = call.query_once("model", may_be_empty=True)
    if address and asked and address != asked:
        raise invalid("model", f"The address names {address!r}; leave the query out or let both be equal.")
    return address or asked


def json_ready(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body as JSON has it: an image that came as bytes becomes base64."""
    given = body.get("input")
    if isinstance(given, dict) and isinstance(given.get("image"), bytes):
        return {**body, "input": {"image": base64.b64encode(given["image"]).decode()}}
    return body


class _InMemory(FileUploadHandler):
    """Keeps files in memory, whose size is bounded by that of the body, which was read before."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self._content = io.BytesIO()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self._content.write(raw_data)

    def file_complete(self, file_size: int) -> "UploadedFile[bytes]":
        self._content.seek(0)
        return UploadedFile(self._content, self.file_name, self.content_type, file_size)


def _form(meta: Mapping[str, Any], body: bytes) -> tuple[QueryDict, "MultiValueDict[str, UploadedFile[bytes]]"]:
    known = {"CONTENT_TYPE": meta.get("CONTENT_TYPE", ""), "CONTENT_LENGTH": str(len(body))}
    try:
        texts, files = MultiPartParser(known, io.BytesIO(body), [_InMemory()], "utf-8").parse()
    except (MultiPartParserError, SuspiciousOperation, ValueError) as error:
        raise PlatformError(ErrorKind.MALFORMED, f"The form cannot be read: {str(error)[:200]}") from error
    if not texts and not files:
        raise PlatformError(ErrorKind.MALFORMED, "The form has no fields; is its boundary that of the header?")
    return texts, files


def _parameters(text: Any) -> Any:
    try:
        return strict_json.loads(str(text).encode())
    except (PlatformError, UnicodeEncodeError) as error:
        raise invalid("parameters", 'The parameters are JSON, such as {"top_k": 3}.') from error


def _media_type(meta: Mapping[str, Any]) -> str:
    content_type: str = meta.get("CONTENT_TYPE", "")
    return content_type.partition(";")[0].strip().lower()
