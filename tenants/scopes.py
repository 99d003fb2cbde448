"""What a key may be allowed to do. Each face checks the scope of each call; an unknown scope cannot be issued."""

from collections.abc import Iterable
from typing import Final

from mlplatform.lib.errors import ErrorKind, PlatformError, invalid

SCOPES: Final[dict[str, str]] = {
    "predict": "One prediction at a time",
    "batch": "Many predictions in one call",
    "train": "Train models of the tenant",
    "models:read": "List models and their versions",
    "models:write": "Push models of the tenant and manage their versions",
    "usage:read": "Read usage and limits",
    "tenant:read": "Read the tenant, its members and its keys",
    "endusers:read": "Read end users and items, and ask for recommendations",
    "endusers:write": "Write end users, items and likes",
    "jobs:read": "Read jobs and their results",
    "jobs:write": "Start and cancel jobs",
    "webhooks:write": "Manage webhook endpoints",
    "lifecycle:read": "Read what ends and when, and who of the tenant still uses it",
    "lifecycle:write": "Rehearse brownouts and migrations of the tenant",
}
DEFAULT_SCOPES: Final = ("predict", "batch", "models:read", "usage:read")


def validate(scopes: Iterable[str]) -> list[str]:
    """The scopes in their listed order without repetition. Raises INVALID_INPUT for one that does not exist."""
    wanted = set(scopes)
    unknown = sorted(wanted - SCOPES.keys())
    if unknown:
        raise invalid("scopes", f"Unknown scope {unknown[0]!r}; the scopes are {', '.join(SCOPES)}.")
    if not wanted:
        raise invalid("scopes", "A key without any scope can do nothing; choose at least one.")
    return [scope for scope in SCOPES if scope in wanted]


def require(held: frozenset[str], needed: str) -> None:
    """Raises FORBIDDEN that names the scope which the key lacks."""
    if needed not in held:
        raise PlatformError(
            ErrorKind.FORBIDDEN,
            f"This key lacks the scope {needed!r}; an admin of the tenant can add it to the key.",
            extra={"required_scope": needed},
        )
