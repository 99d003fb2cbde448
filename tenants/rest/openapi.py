"""OpenAPI of what views declare, and what every operation of the REST API has in common: security, headers, problems.

``mlplatform/docs/openapi.py`` has drf-spectacular walk the addresses of the API with it, for each major API version.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, cast

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from mlplatform.lib.errors import ErrorKind
from tenants.http import problems
from tenants.http.json_schemas import Schema, schema_of
from tenants.rest.declarations import ANY_VERSION, ApiOperation, Parameter, header, offered
from tenants.rest.views import ApiView

NAME: Final = "x-component"
"""Where a problem of an operation tells the name of the component that it becomes; it is no part of the document."""

ALWAYS: Final = (
    ErrorKind.MALFORMED,
    ErrorKind.UNSUPPORTED_API_VERSION,
    ErrorKind.UNAUTHENTICATED,
    ErrorKind.FORBIDDEN,
    ErrorKind.NOT_FOUND,
    ErrorKind.TOO_MANY_ATTEMPTS,
    ErrorKind.INTERNAL,
    ErrorKind.UNAVAILABLE,
)
"""Problems that any call can meet."""

SECURITY_SCHEMES: Final[Schema] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "Your API key: `Authorization: Bearer mlp_live_…`.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key, for clients that cannot set Authorization.",
    },
}


class ApiSchema(AutoSchema):
    """Writes what the view declares (``tenants/rest/declarations.py``), and what all operations have in common."""

    @property
    def _declared(self) -> ApiOperation:
        view = cast("ApiView", self.view)
        return view.operations[api_version_of(self.path)][self.method.lower()]

    def get_operation_id(self) -> str:
        return self._declared.id

    def get_tags(self) -> list[str]:
        return [self._declared.tag]

    def get_summary(self) -> str:
        return self._declared.summary

    def get_description(self) -> str:  # type: ignore[override]
        return self._declared.description

    def get_auth(self) -> list[dict[str, list[str]]]:
        return [{name: []} for name in SECURITY_SCHEMES]

    def get_override_parameters(self) -> Any:
        return [_written(one) for one in (*_COMMON, *self._declared.parameters)]

    def get_examples(self) -> list[OpenApiExample]:
        return [OpenApiExample(one.name, value=one.value, request_only=True) for one in self._declared.examples]

    def get_request_serializer(self) -> Any:
        declared = self._declared
        json = {"application/json": declared.request} if declared.request else {}
        return {media_type: schema_of(body) for media_type, body in (json | dict(declared.bodies)).items()} or None

    def get_response_serializers(self) -> Any:
        declared = self._declared
        answers = {"application/json": declared.answer, **declared.also}
        good = {
            (declared.status, media_type): OpenApiResponse(schema_of(answer), description="The answer.")
            for media_type, answer in answers.items()
        }
        return good | _problems((*ALWAYS, *declared.kinds))

    def _get_response_for_code(self, serializer: Any, *args: Any, **kwargs: Any) -> Schema:
        response: Schema = super()._get_response_for_code(serializer, *args, **kwargs)  # type: ignore[no-untyped-call]
        return response | {NAME: serializer.name} if isinstance(serializer, _ProblemResponse) else response


def api_version_of(path: str) -> str:
    """The API version that an address names, such as ``v1.1``; else :data:`~tenants.rest.declarations.ANY_VERSION`."""
    named = re.match(r"/?(v\d[^/]*)/", path)
    return named[1] if named else ANY_VERSION


def _written(one: Parameter) -> OpenApiParameter:
    response = list(one.response) if isinstance(one.response, tuple) else one.response
    return OpenApiParameter(one.name, one.schema, one.place, description=one.description, response=response)


class _ProblemResponse(OpenApiResponse):
    """One of the kinds of problem that have a status, under the ``name`` of these kinds."""

    def __init__(self, kinds: Sequence[ErrorKind]) -> None:
        told = (f"{problems.TABLE[kind].title}. {problems.TABLE[kind].meaning}" for kind in kinds)
        super().__init__(schema_of(problems.Problem), description=" Or: ".join(told))
        self.name = "Or".join("".join(part.capitalize() for part in re.split("[_-]", kind.value)) for kind in kinds)


def _problems(kinds: Sequence[ErrorKind]) -> dict[Any, OpenApiResponse]:
    by_status: dict[int, list[ErrorKind]] = {}
    for kind in problems.TABLE:
        if kind in kinds:
            by_status.setdefault(problems.TABLE[kind].status, []).append(kind)
    return {(status, problems.CONTENT_TYPE): _ProblemResponse(found) for status, found in sorted(by_status.items())}


_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_COMMON: Final = (
    offered(
        "X-Request-Id",
        "Your own id of the call: 1 to 128 of A–Z a–z 0–9 . _ : - , beginning with a letter or digit. Anything else is "
        "replaced by an id of ours.",
        _TEXT,
    ),
    header("X-Request-Id", "The id of the call: yours if it was sane, else ours.", _TEXT),
    header("traceparent", "W3C trace context: our span of your trace, or of a new one.", _TEXT),
    header("API-Version", "The API version that answered.", _TEXT),
    header(
        "RateLimit-Policy",
        "Every limit of the key: quota `q`, window in seconds `w`, and `x-unit` where it counts units.",
        {"type": "string", "examples": ['"burst";q=2000;w=10;x-unit="units"']},
    ),
    header(
        "RateLimit",
        "What is left of every limit, `r`, and in how many seconds `t` it is whole again, or lets a refused call pass.",
        {"type": "string", "examples": ['"burst";r=1990;t=1']},
    ),
    header(
        "X-RateLimit-Limit",
        "Quota of the tightest limit: the one that would refuse first, were more calls of this price to follow.",
        _COUNT,
    ),
    header("X-RateLimit-Remaining", "What is left of the tightest limit.", _COUNT),
    header("X-RateLimit-Reset", "Seconds until the tightest limit is whole again.", _COUNT),
    header(
        "Retry-After",
        "Seconds after which the call can pass.",
        {"type": "integer", "minimum": 1},
        codes=[429, 503],
    ),
    header("WWW-Authenticate", "How to authenticate.", _TEXT, codes=[401]),
)
