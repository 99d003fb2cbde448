"""GraphQL over HTTP: from a request to the operations that it asks for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, QueryDict

from mlplatform.graphql.refusals import BATCH_TOO_LARGE, too_much
from mlplatform.lib import request_body, strict_json
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.http import parsers

_MEMBERS: Final = ("query", "documentId", "operationName", "variables", "extensions")
MAX_VALUES: Final = 60_000
"""In the lists of a request's variables. Each costs some microseconds to be read as its type, and a list of them is not
interrupted; the largest tensor of a demo model has 55,296 numbers."""
_DOCUMENT_ID: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Asked:
    """One operation as it was asked for: a document's text, or the SHA-256 of a trusted one, never neither.

    Apollo's clients may send both; ``by_apollo`` tells that the hash came in their way.
    """

    text: str | None
    sha256: str | None
    by_apollo: bool
    operation_name: str | None
    variables: Mapping[str, Any]

    def values(self) -> int:
        """How many values the lists of the variables have, those of lists in lists and objects included."""
        number, left = 0, list(self.variables.values())
        while left:
            one = left.pop()
            if isinstance(one, list):
                number += len(one)
                left += [item for item in one if isinstance(item, list | dict)]
            elif isinstance(one, dict):
                left += one.values()
        return number


@dataclass(frozen=True, slots=True)
class Request:
    """``is_batch`` tells whether the answer is a list, which it is for a list of one as well."""

    operations: tuple[Asked, ...]
    is_batch: bool


def of_body(request: HttpRequest) -> Request:
    """The operations of a POST. Raises PlatformError for whatever is no such request."""
    _require_json(request)
    body = strict_json.loads(request_body.of(request.META).whole(limit=settings.MAX_BODY_BYTES))
    if not isinstance(body, list):
        return Request((_asked(body, ""),), is_batch=False)
    limit: int = settings.GRAPHQL_MAX_OPERATIONS
    if not body:
        raise _malformed("The list of operations is empty.")
    if len(body) > limit:
        raise too_much(
            BATCH_TOO_LARGE,
            f"The list has {len(body)} operations; at most {limit} are allowed.",
            parsed=False,
            limit=limit,
        )
    return Request(tuple(_asked(one, f"[{index}].") for index, one in enumerate(body)), is_batch=True)


def of_address(query_string: str) -> Request:
    """The operation of a GET, in the parameters of its address. Raises PlatformError as :func:`of_body` does."""
    members: dict[str, Any] = {}
    for name, values in QueryDict(query_string).lists():
        if len(values) > 1:
            raise _malformed(f"The address names {name[:60]!r} more than once.", name[:60])
        members[name] = values[0]
    for name in ("variables", "extensions"):
        if members.get(name):
            members[name] = strict_json.loads(members[name].encode("utf-8", "surrogatepass"))
        else:
            members.pop(name, None)
    if not members.get("operationName"):
        members.pop("operationName", None)
    return Request((_asked(members, ""),), is_batch=False)


def _require_json(request: HttpRequest) -> None:
    if (request.content_type or "").strip().lower() != "application/json":
        raise parsers.not_json()
    charset = (request.content_params or {}).get("charset", "utf-8").lower()
    if charset not in {"utf-8", "utf8"}:
        raise PlatformError(ErrorKind.UNSUPPORTED_MEDIA_TYPE, f"The body is {charset[:32]}; send UTF-8.")


def _asked(members: Any, path: str) -> Asked:
    if not isinstance(members, dict):
        where = f"The operation {path[:-1]}" if path else "The body"
        raise _malformed(f"{where} must be a JSON object with the member query.")
    unknown = next((name for name in members if name not in _MEMBERS), None)
    if unknown is not None:
        raise _malformed(
            f"Unknown member {unknown[:60]!r}; the members are {', '.join(_MEMBERS)}.", path + unknown[:60]
        )
    text = _optional(members, "query", str, "a text", path)
    sha256 = _document_id(members, path)
    if not text and not sha256:
        raise _malformed("Send the document as query, or the id of a trusted one as documentId.", f"{path}query")
    if text and members.get("documentId") is not None:
        raise _malformed("Send either query or documentId, not both.", f"{path}documentId")
    return Asked(
        text=text or None,
        sha256=sha256,
        by_apollo=sha256 is not None and members.get("documentId") is None,
        operation_name=_optional(members, "operationName", str, "a text", path) or None,
        variables=_optional(members, "variables", dict, "an object", path) or {},
    )


def _optional(members: Mapping[str, Any], name: str, type_: type, what: str, path: str) -> Any:
    value = members.get(name)
    if value is not None and not isinstance(value, type_):
        raise _malformed(f"{path}{name} must be {what} or null.", path + name)
    return value


def _document_id(members: Mapping[str, Any], path: str) -> str | None:
    """The hash of a trusted document: documentId, or what Apollo's clients send for it."""
    given = _optional(members, "documentId", str, "a text", path)
    where = f"{path}documentId"
    if given is None:
        extensions = _optional(members, "extensions", dict, "an object", path) or {}
        where = f"{path}extensions.persistedQuery"
        persisted = _optional(extensions, "persistedQuery", dict, "an object", f"{path}extensions.") or {}
        given = _optional(persisted, "sha256Hash", str, "a text", f"{where}.")
        if given is None:
            return None
    else:
        _optional(members, "extensions", dict, "an object", path)
    match = _DOCUMENT_ID.fullmatch(given)
    if match is None:
        raise _malformed(f"{where} must be 'sha256:' and 64 hexadecimal digits.", where)
    return match[1]


def _malformed(detail: str, field: str | None = None) -> PlatformError:
    return PlatformError(ErrorKind.MALFORMED, detail, field=field)
