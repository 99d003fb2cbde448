"""From a secret to a frozen :class:`Caller`, by an in-process cache of bounded staleness.

A change of the key or its tenant is noticed at once through the guards (``tenants/guards.py``); the 30 seconds here
only bound what a lost Redis could hide. Secrets that can never turn good, unknown and revoked ones, are remembered for a
few seconds too, so that one which is sent again and again costs the database one look-up in that time.
"""

import datetime as dt
import hashlib
import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings

from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from mlplatform.lib.ttl_cache import TTLCache
from tenants import api_keys, last_used
from tenants.models import ApiKeySecret, TenantStatus

_REFUSED_S = 5.0

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated identity of one request. An empty ``allowed_models`` or ``networks`` allows all."""

    tenant_id: int
    tenant_slug: str
    tenant_name: str
    tenant_version: int
    shard: int
    default_model: str
    key_uid: str
    key_name: str
    key_version: int
    mode: str
    scopes: frozenset[str]
    allowed_models: frozenset[str]
    networks: tuple[Network, ...]
    pinned_api_version: str
    valid_until: dt.datetime | None
    trusted_documents_only: bool = False
    operator: bool = False
    """Of the organisation that runs the platform: ``models:write`` covers every model then."""

    def may_use(self, model: str) -> bool:
        """Whether the key's allow-list has the model; one that it may not use answers as if it did not exist."""
        return not self.allowed_models or model in self.allowed_models


class WrongKey(PlatformError):
    """UNAUTHENTICATED: no key of this service has this secret. Expired and revoked keys are no guesses, hence not wrong."""

    def __init__(self, detail: str) -> None:
        super().__init__(ErrorKind.UNAUTHENTICATED, detail)


known_callers: TTLCache[bytes, Caller] = TTLCache(20_000)
refused_secrets: TTLCache[bytes, Callable[[], PlatformError]] = TTLCache(10_000)


def authenticate(secret: str, *, address: str, fresh: bool = False) -> Caller:
    """The caller whose key has this secret, calling from this address.

    ``fresh`` reads the rows whatever is remembered. Raises UNAUTHENTICATED for a secret that is expired or revoked, its
    subclass WrongKey for one that is malformed or unknown, and FORBIDDEN for a suspended tenant or an address outside the
    key's networks.
    """
    caller = None if fresh else cached(secret)
    return check(caller or _load(secret, fresh=fresh), address=address)


def check(caller: Caller, *, address: str) -> Caller:
    """The caller, if its key has not expired and may be used from this address. Raises as :func:`authenticate` does."""
    if caller.valid_until is not None and caller.valid_until <= clock.now():
        raise _unauthenticated("This API key or this secret of it has expired.")
    if caller.networks:
        _check_address(caller, address)
    last_used.note(caller.key_uid)
    return caller


def cached(secret: str) -> Caller | None:
    """The caller if this process parsed it within the last 30 seconds."""
    return known_callers.get(hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest())


def forget_all() -> None:
    """Empty the in-process cache; for tests and for forked processes."""
    known_callers.clear()
    refused_secrets.clear()


def _load(secret: str, *, fresh: bool) -> Caller:
    if not api_keys.well_formed(secret):
        raise WrongKey(
            "This is not an API key of this service: a key looks like mlp_live_… and its checksum must fit. Was it cut off?"
        )
    digest = api_keys.digest(secret)
    if not fresh:
        refused = refused_secrets.get(bytes.fromhex(digest))
        if refused is not None:
            raise refused()
    # Whatever the rows say, the old answer is over: a key that was revoked must not be found in memory again.
    known_callers.drop(bytes.fromhex(digest))
    row = ApiKeySecret.objects.select_related("key__tenant").filter(sha256=digest).first()
    if row is None or not hmac.compare_digest(row.sha256, digest):
        raise _refused_for_good(digest, _unknown)
    key, tenant = row.key, row.key.tenant
    if key.revoked_at is not None:
        raise _refused_for_good(digest, _revoked)
    if tenant.status != TenantStatus.ACTIVE:
        raise PlatformError(ErrorKind.FORBIDDEN, "This tenant is suspended; please contact support.")
    ends = [moment for moment in (key.expires_at, row.expires_at) if moment is not None]
    caller = Caller(
        tenant_id=tenant.pk,
        tenant_slug=tenant.slug,
        tenant_name=tenant.name,
        tenant_version=tenant.version,
        shard=tenant.shard,
        default_model=tenant.default_model,
        key_uid=key.uid,
        key_name=key.name,
        key_version=key.version,
        mode=key.mode,
        scopes=frozenset(key.scopes),
        allowed_models=frozenset(key.allowed_models),
        networks=tuple(ipaddress.ip_network(network) for network in key.allowed_cidrs),
        pinned_api_version=key.pinned_api_version,
        valid_until=min(ends, default=None),
        trusted_documents_only=key.trusted_documents_only,
        operator=tenant.operator,
    )
    known_callers.put(bytes.fromhex(digest), caller, ttl_s=settings.CALLER_CACHE_S)
    return caller


def _refused_for_good(digest: str, why: Callable[[], PlatformError]) -> PlatformError:
    """What refuses this secret, remembered: no key gets an old secret, and none is un-revoked."""
    refused_secrets.put(bytes.fromhex(digest), why, ttl_s=_REFUSED_S)
    return why()


def _unknown() -> PlatformError:
    return WrongKey("No API key has this secret.")


def _revoked() -> PlatformError:
    return _unauthenticated("This API key was revoked.")


def _check_address(caller: Caller, address: str) -> None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        parsed = None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed is None or not any(parsed in network for network in caller.networks):
        raise PlatformError(ErrorKind.FORBIDDEN, f"This API key may not be used from the address {address}.")


def _unauthenticated(detail: str) -> PlatformError:
    return PlatformError(ErrorKind.UNAUTHENTICATED, detail)
