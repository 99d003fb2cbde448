"""The address of the client, behind as many trusted proxies as the settings say and not one more."""

import ipaddress
from collections.abc import Mapping


def client_address(meta: Mapping[str, str], *, trusted_proxies: int) -> str:
    """The peer's address, or the entry that the outermost trusted proxy appended to ``X-Forwarded-For``.

    Each trusted proxy appends the address it saw, so with N proxies the N-th entry from the right is the last one that
    was not written by the client. Anything that is no address falls back to the peer.
    """
    peer = meta.get("REMOTE_ADDR", "") or "0.0.0.0"  # noqa: S104 - an unknown peer, not a bind address
    if trusted_proxies <= 0:
        return peer
    hops = [hop.strip() for hop in meta.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
    if len(hops) < trusted_proxies:
        return peer
    try:
        return str(ipaddress.ip_address(hops[-trusted_proxies]))
    except ValueError:
        return peer
