"""One HTTP call and its answer as handlers see them: a view makes a :class:`RestCall`, and writes a :class:`Reply`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict

from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.deprecations.rules import Deprecation
from tenants.http import problems


@dataclass(slots=True)
class RestCall:
    """A call. ``META`` is the WSGI environment, under the name that Django's own requests have for it.

    ``parse`` reads and parses the body; it raises MALFORMED, PAYLOAD_TOO_LARGE or UNSUPPORTED_MEDIA_TYPE.
    """

    META: dict[str, Any]
    request_id: str
    path_version: str
    parse: Callable[[], Any]
    deprecations: tuple[Deprecation, ...] = ()
    """Of what the call pinned beside its API version; its handler says so where it refuses the call."""

    @property
    def path(self) -> str:
        """The path below the API version, such as ``/predict``."""
        path: str = self.META.get("PATH_INFO", "")
        return path.removeprefix(f"/{self.path_version}") if self.path_version else path

    def header(self, name: str) -> str:
        """A header by its WSGI name without ``HTTP_``, such as ``API_VERSION``; empty where it is absent."""
        value: str = self.META.get(f"HTTP_{name}", "")
        return value.strip()

    def query_once(self, name: str, *, may_be_empty: bool = False) -> str:
        """A query parameter, or empty where it is absent. Raises MALFORMED for one with several values, and for one without a
        value unless it ``may_be_empty``: what is empty text by its schema is absent then."""
        query = self.META.get("QUERY_STRING", "")
        if not query:
            return ""
        values = set(QueryDict(query).getlist(name))
        if len(values) > 1:
            raise PlatformError(ErrorKind.MALFORMED, f"The query names {name} more than once.", field=name)
        if values == {""} and not may_be_empty:
            raise PlatformError(ErrorKind.MALFORMED, f"The query names {name} without a value.", field=name)
        return values.pop() if values else ""

    def json_object(self) -> dict[str, Any]:
        """The body, which must be a JSON object. Raises MALFORMED otherwise."""
        body = self.parse()
        if not isinstance(body, dict):
            raise PlatformError(ErrorKind.MALFORMED, "The body must be a JSON object.")
        return body


@dataclass(slots=True)
class Reply:
    """An answer: ``body`` is what JSON can say, or a Django response for other media types."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    deprecations: tuple[Deprecation, ...] = ()
    """Of what the call pinned beside its API version, such as model versions."""
    brownout: bool = False
    """A planned brownout refused the call, so its 503 is no failure of the service."""

    def mark(self, response: Any) -> None:
        """Note on a framework's response what its status does not tell to whatever counts the answer."""
        response.refused_by_brownout = self.brownout


def is_brownout(response: Any) -> bool:
    """Whether the response was marked as a planned refusal."""
    return getattr(response, "refused_by_brownout", False)


def problem_reply(error: Exception, *, request_id: str) -> Reply:
    """Any exception as a problem."""
    problem = problems.kind_of(error)
    return Reply(
        body=problems.body(problem, request_id=request_id),
        status=problems.TABLE[problem.kind].status,
        headers=problems.headers(problem),
        content_type=problems.CONTENT_TYPE,
    )
