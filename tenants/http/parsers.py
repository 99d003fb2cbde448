"""JSON bodies of API calls."""

from typing import Any, Final

from django.conf import settings

from mlplatform.lib import request_body, strict_json
from mlplatform.lib.errors import ErrorKind, PlatformError

_JSON: Final = "application/json"


def json_of(meta: dict[str, Any]) -> Any:
    """The body of a call by its WSGI environment, without the traps (see ``mlplatform.lib.strict_json``); ``{}`` for none.

    Raises MALFORMED, PAYLOAD_TOO_LARGE, or UNSUPPORTED_MEDIA_TYPE for a body that does not say that it is JSON.
    """
    body = request_body.of(meta)
    if body.is_none:
        return {}
    content_type: str = meta.get("CONTENT_TYPE", "")
    if content_type.partition(";")[0].strip().lower() == _JSON:
        return strict_json.loads(body.whole(limit=settings.MAX_BODY_BYTES) or b"{}")
    if not content_type and body.in_chunks and not body.whole(limit=settings.MAX_BODY_BYTES):
        return {}  # Some clients announce chunks before they know that there will be none.
    raise not_json()


def not_json() -> PlatformError:
    """The one answer for a body of another media type."""
    return PlatformError(
        ErrorKind.UNSUPPORTED_MEDIA_TYPE, "Send JSON, with the header 'Content-Type: application/json'."
    )
