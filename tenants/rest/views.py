"""The base of every API view: one JSON parser, one renderer, problems for errors."""

from collections.abc import Iterable
from typing import Any

from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tenants.rest.parsers import not_json


class JSONOnly(BaseContentNegotiation):
    """Answers are JSON whatever ``Accept`` says; a body must say that it is JSON."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next(iter(parsers)) if media_type == "application/json" else None

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class ApiView(APIView):
    """A view that parses, calls one service and renders."""

    content_negotiation_class = JSONOnly

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """Which methods the address has, in the Allow header that every answer carries; nothing else is told."""
        return Response(status=204)

    @staticmethod
    def parsed(request: Request) -> Any:
        """The parsed body. Raises UNSUPPORTED_MEDIA_TYPE for one that does not say that it is JSON."""
        try:
            return request.data
        except UnsupportedMediaType as error:
            raise not_json() from error
