"""Bodies of API calls."""

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import BaseParser

from mlplatform.lib import strict_json
from mlplatform.lib.errors import ErrorKind, PlatformError


class StrictJSONParser(BaseParser):
    """JSON without the traps: see ``mlplatform.lib.strict_json``. The body is read up to the limit and no further."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        request = (parser_context or {}).get("request")
        if request is not None:
            require_plain(request.META)
        limit: int = settings.MAX_BODY_BYTES
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise too_large(limit)
        return strict_json.loads(body)


def require_plain(meta: Mapping[str, Any]) -> None:
    """Raises UNSUPPORTED_MEDIA_TYPE for a body that its header says is compressed: a bomb must not be unpacked here."""
    encoding: str = meta.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding not in {"", "identity"}:
        raise PlatformError(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE, f"The body is encoded as {encoding[:32]}; send it as it is."
        )


def not_json() -> PlatformError:
    """The one answer for a body of another media type."""
    return PlatformError(
        ErrorKind.UNSUPPORTED_MEDIA_TYPE, "Send JSON, with the header 'Content-Type: application/json'."
    )


def too_large(limit: int) -> PlatformError:
    """The one answer for a body beyond the limit."""
    return PlatformError(ErrorKind.PAYLOAD_TOO_LARGE, f"The body is larger than {limit:,} bytes; split the call.")
