"""API versions and which of them answers a call. Pure rules: every face gives what it saw and gets a name back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mlplatform.lib.errors import ErrorKind, PlatformError

KNOWN: Final[tuple[str, ...]] = ("v1", "v1.1", "v2")


@dataclass(frozen=True, slots=True)
class Selectors:
    """Where a call can name an API version, strongest first; empty where it does not."""

    path: str = ""
    header: str = ""
    query: str = ""
    pin: str = ""


def select(selectors: Selectors, *, default: str) -> str:
    """The API version that answers.

    Path, header and query are the call's own words: each must be known and they must agree. The key's pin and the
    platform's default serve calls that say nothing. Raises UNSUPPORTED_API_VERSION or MALFORMED.
    """
    said: Mapping[str, str] = {
        name: value
        for name, value in (
            ("path", selectors.path),
            ("API-Version header", selectors.header),
            ("version query", selectors.query),
        )
        if value
    }
    for value in said.values():
        require_known(value)
    if len(set(said.values())) > 1:
        listed = ", ".join(f"{name} {value}" for name, value in said.items())
        raise PlatformError(
            ErrorKind.MALFORMED,
            f"The call names different API versions: {listed}. Name one.",
            field="API-Version",
        )
    chosen = next(iter(said.values()), "") or selectors.pin or default
    require_known(chosen)
    return chosen


def require_known(name: str) -> None:
    """Raises UNSUPPORTED_API_VERSION, naming those that are supported."""
    if name not in KNOWN:
        raise PlatformError(
            ErrorKind.UNSUPPORTED_API_VERSION,
            f"Unsupported API version: {name[:32]}. Supported: {', '.join(KNOWN)}.",
            field="API-Version",
            extra={"supported": list(KNOWN)},
        )
