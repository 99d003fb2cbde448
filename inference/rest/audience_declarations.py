"""What the OpenAPI declarations of a tenant's audience have in common. See ``tenants/rest/declarations.py``."""

from typing import Any, Final

from inference.recommendations.messages import Id
from inference.rest.audience_calls import DEFAULT_PAGE, MAX_PAGE, READ, WRITE
from mlplatform.lib.errors import ErrorKind
from tenants.http.json_schemas import field_schema
from tenants.rest.declarations import Example, in_path, query

TAG: Final = "Recommendations"
BODY: Final = (ErrorKind.PAYLOAD_TOO_LARGE, ErrorKind.UNSUPPORTED_MEDIA_TYPE, ErrorKind.INVALID_INPUT)
READS: Final = f"Needs the scope `{READ}`. Costs nothing."
WRITES: Final = f"Needs the scope `{WRITE}`. Costs nothing."
ID: Final = field_schema(Id)
EXTERNAL_ID: Final = in_path("external_id", "Your own id.", ID)
PAGING: Final = (
    query(
        "limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}
    ),
    query("cursor", "The `next_cursor` of the page before; empty for the first.", {"type": "string"}),
)


def example(value: Any) -> tuple[Example]:
    """A value out of the demo's bookshop."""
    return (Example("A bookshop", value),)
