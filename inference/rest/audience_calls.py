"""What calls about a tenant's audience say and get in common: ids, pages, and who is meant."""

import base64
import binascii
from typing import Any, Final

from inference.models import EndUser
from inference.recommendations import audience, entries
from inference.recommendations.audience import Page
from mlplatform.lib.errors import PlatformError, invalid
from tenants.authentication import Caller
from tenants.http.call import RestCall

READ, WRITE = "endusers:read", "endusers:write"
MAX_PAGE: Final = 1_000
DEFAULT_PAGE: Final = 100
DEFAULT_LIMIT: Final = 10


def id_of(external_id: str, *, field: str = "external_id") -> str:
    return entries.external_id(external_id, field=field)


def the_user(caller: Caller, external_id: str) -> EndUser:
    """Raises NOT_FOUND for one that is no end user of the tenant."""
    user = audience.user(tenant_id=caller.tenant_id, external_id=id_of(external_id))
    if user is None:
        raise audience.no_user(external_id)
    return user


def page_size(call: RestCall) -> int:
    return number(call, "limit", default=DEFAULT_PAGE, most=MAX_PAGE)


def number(call: RestCall, name: str, *, default: int, most: int) -> int:
    text = call.query_once(name)
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= most):
        raise invalid(name, f"The {name} is a whole number from 1 to {most:,}.")
    return int(text)


def flag(call: RestCall, name: str) -> bool:
    text = call.query_once(name)
    if text not in {"", "true", "false"}:
        raise invalid(name, f"Write {name}=true or {name}=false.")
    return text == "true"


def cursor(call: RestCall) -> str:
    """The id after which the page begins."""
    text = call.query_once("cursor", may_be_empty=True)
    try:
        after = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
        return id_of(after) if after else ""
    except (ValueError, binascii.Error, PlatformError) as error:
        raise invalid("cursor", "The cursor is the next_cursor of the page before; this is none.") from error


def next_cursor(page: Page[Any]) -> str | None:
    return base64.urlsafe_b64encode(page.next.encode()).decode() if page.next else None
