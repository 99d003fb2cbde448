"""Issue, change, rotate and revoke API keys. A secret is returned once, by the call that made it, and never kept."""

import datetime as dt
import hashlib
import ipaddress
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from django.db import transaction
from django.db.models import Q

from mlplatform.lib import clock, ids
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants import api_versions, guards
from tenants import scopes as known_scopes
from tenants.models import ApiKey, ApiKeySecret, Tenant, User
from tenants.models.api_key import KeyMode

SECRET_FORMAT: Final = re.compile(r"(mlp_(?:live|test)_[0-9A-Za-z]{22})_([0-9A-Za-z]{6})")
MAX_OVERLAP: Final = dt.timedelta(days=30)
MAX_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class IssuedSecret:
    """A fresh secret with its key. ``secret`` is shown to a person once and stored nowhere."""

    key: ApiKey
    secret: str

    def __repr__(self) -> str:
        return f"IssuedSecret(key={self.key.uid!r}, secret=…)"


def digest(secret: str) -> str:
    """What is stored of a secret: SHA-256 in hexadecimal; 131 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def well_formed(secret: str) -> bool:
    """Whether format and checksum fit; told without a look-up, so typos and cuts get a helpful answer."""
    match = SECRET_FORMAT.fullmatch(secret)
    return match is not None and ids.base62_checksum(match[1], 6) == match[2]


@transaction.atomic
def issue(
    *,
    tenant: Tenant,
    name: str,
    scopes: Collection[str] = known_scopes.DEFAULT_SCOPES,
    mode: str = KeyMode.LIVE,
    allowed_models: Sequence[str] = (),
    allowed_cidrs: Sequence[str] = (),
    pinned_api_version: str = "",
    trusted_documents_only: bool = False,
    expires_at: dt.datetime | None = None,
    created_by: User | None = None,
) -> IssuedSecret:
    """Make a key with one secret. Raises INVALID_INPUT that names the field."""
    if not name.strip() or "\x00" in name:
        raise invalid("name", "Give the key a name by which people recognise it, such as the program that uses it.")
    if len(name.strip()) > MAX_NAME:
        raise invalid("name", f"The name has more than {MAX_NAME} characters.")
    if mode not in KeyMode.values:
        raise invalid("mode", "The mode is live or test.")
    key = ApiKey.objects.create(
        tenant=tenant,
        name=name.strip(),
        mode=mode,
        scopes=known_scopes.validate(scopes),
        allowed_models=list(allowed_models),
        allowed_cidrs=validate_cidrs(allowed_cidrs),
        pinned_api_version=validate_pin(pinned_api_version),
        trusted_documents_only=trusted_documents_only,
        expires_at=validate_expiry(expires_at),
        created_by=created_by,
    )
    return IssuedSecret(key, _add_secret(key))


@transaction.atomic
def rotate(*, key: ApiKey, overlap: dt.timedelta = dt.timedelta(days=1)) -> IssuedSecret:
    """Make another secret; the present ones work for ``overlap`` more, so that programs change without a gap."""
    if not dt.timedelta(0) <= overlap <= MAX_OVERLAP:
        raise invalid("overlap", f"The old secret may work for 0 to {MAX_OVERLAP.days} more days.")
    key = ApiKey.objects.select_for_update().get(pk=key.pk)
    if key.revoked_at is not None:
        raise PlatformError(ErrorKind.CONFLICT, "A revoked key cannot be rotated; issue a new one.")
    end = clock.now() + overlap
    for old in key.secrets.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=end)):
        old.expires_at = end
        old.save(update_fields=["expires_at"])
    secret = _add_secret(key)
    guards.key_changed(key.pk)
    return IssuedSecret(key, secret)


@transaction.atomic
def revoke(*, key: ApiKey) -> None:
    """Refuse the key at once on every process, for good. Revoking twice changes nothing."""
    row = ApiKey.objects.select_for_update().get(pk=key.pk)
    if row.revoked_at is None:
        row.revoked_at = clock.now()
        row.save(update_fields=["revoked_at"])
        guards.key_changed(row.pk)


def changed(*, key: ApiKey) -> None:
    """To be called after a form saved the key's fields: every process reads them again."""
    guards.key_changed(key.pk)


def validate_cidrs(networks: Sequence[str]) -> list[str]:
    """The networks in canonical form. Raises INVALID_INPUT for one that is none."""
    try:
        return [str(ipaddress.ip_network(network.strip())) for network in networks]
    except ValueError as error:
        raise invalid(
            "allowed_cidrs", f"Not a network: {error}. Write such as 203.0.113.0/24 or 2001:db8::/32."
        ) from error


def validate_pin(api_version: str) -> str:
    """Empty, or the name of an API version. Raises INVALID_INPUT for an unknown one."""
    if api_version and api_version not in api_versions.known():
        raise invalid("pinned_api_version", f"Unknown API version; there are {', '.join(api_versions.known())}.")
    return api_version


def validate_expiry(expires_at: dt.datetime | None) -> dt.datetime | None:
    """None or a moment to come. Raises INVALID_INPUT for one that has passed."""
    if expires_at is not None and expires_at <= clock.now():
        raise invalid("expires_at", "The expiry lies in the past; leave it empty for a key that does not expire.")
    return expires_at


def _add_secret(key: ApiKey) -> str:
    body = f"mlp_{key.mode}_{ids.base62_token(22)}"
    secret = f"{body}_{ids.base62_checksum(body, 6)}"
    ApiKeySecret.objects.create(key=key, sha256=digest(secret), prefix=secret[:13], last_four=secret[-4:])
    return secret
