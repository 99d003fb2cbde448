"""The base of every API view: one renderer, problems for errors. Bodies are read by ``mlplatform.lib.request_body``."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tenants.rest.declarations import ApiOperation


class JSONOnly(BaseContentNegotiation):
    """Answers are JSON whatever ``Accept`` says."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class ApiView(APIView):
    """A view that parses, calls one service and renders."""

    content_negotiation_class = JSONOnly

    operations: ClassVar[Mapping[str, Mapping[str, ApiOperation]]] = {}
    """What the OpenAPI documents say of it, by API version and method: see :func:`tenants.rest.declarations.documented`."""

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """Which methods the address has, in the Allow header that every answer carries; nothing else is told."""
        return Response(status=204)
