"""API versions and which of them answers a call: every face gives what it saw and gets a name back."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.deprecations import catalogue


@dataclass(frozen=True, slots=True)
class Selectors:
    """Where a call can name an API version, strongest first; empty where it does not."""

    path: str = ""
    header: str = ""
    query: str = ""
    pin: str = ""


def known() -> tuple[str, ...]:
    """Every API version that there is, oldest first."""
    return tuple(catalogue.current().api_versions)


def select(selectors: Selectors, *, default: str, known: Collection[str]) -> str:
    """The API version that answers, of those ``known``.

    Path, header and query are the call's own words: each must be known and they must agree. The key's pin and the
    platform's default serve calls that say nothing. Raises UNSUPPORTED_API_VERSION or MALFORMED.
    """
    if selectors.path in known and not selectors.header and not selectors.query:
        return selectors.path  # Most calls.
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
        require_known(value, known)
    if len(set(said.values())) > 1:
        listed = ", ".join(f"{name} {value}" for name, value in said.items())
        raise PlatformError(
            ErrorKind.MALFORMED,
            f"The call names different API versions: {listed}. Name one.",
            field="API-Version",
        )
    chosen = next(iter(said.values()), "") or selectors.pin or default
    require_known(chosen, known)
    return chosen


def require_known(name: str, known: Collection[str]) -> None:
    """Raises UNSUPPORTED_API_VERSION, naming those that are supported."""
    if name not in known:
        raise PlatformError(
            ErrorKind.UNSUPPORTED_API_VERSION,
            f"Unsupported API version: {name[:32]}. Supported: {', '.join(known)}.",
            field="API-Version",
            extra={"supported": list(known)},
        )
