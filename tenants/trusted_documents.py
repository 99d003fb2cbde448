"""Register, find and remove the GraphQL documents that a tenant's programs send by their hash.

This floor does not know the schema, so a document is judged by the ``judge`` that its caller hands in.
"""

import hashlib
from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.db import IntegrityError, transaction

from mlplatform.lib.errors import invalid
from mlplatform.lib.ttl_cache import TTLCache
from tenants.models import Tenant, TrustedDocument

MAX_NAME: Final = 100
MAX_CHARACTERS: Final = 100_000

Judge = Callable[[str], str]
"""What is wrong with a document's text, in words; empty if nothing is."""

_cache: TTLCache[tuple[int, str], str] = TTLCache(2_000)


def digest(text: str) -> str:
    """The SHA-256 of a text, in hexadecimal; a document's id is this behind ``sha256:``."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def text_of(*, tenant_id: int, sha256: str) -> str | None:
    """The text of a tenant's document, or None. A removed one is found for up to 30 seconds more."""
    known = _cache.get((tenant_id, sha256))
    if known is not None:
        return known
    text = TrustedDocument.objects.filter(tenant_id=tenant_id, sha256=sha256).values_list("text", flat=True).first()
    if text is None:
        _cache.drop((tenant_id, sha256))
    else:
        _cache.put((tenant_id, sha256), text, ttl_s=settings.CALLER_CACHE_S)
    return text


def check(*, name: str, text: str, judge: Judge) -> None:
    """Raises INVALID_INPUT that names the field for what cannot be registered."""
    if not name.strip() or len(name.strip()) > MAX_NAME or "\x00" in name:
        raise invalid("name", f"Give the document a name of at most {MAX_NAME} characters.")
    if not text.strip() or len(text) > MAX_CHARACTERS or "\x00" in text:
        raise invalid("text", f"A document has from 1 to {MAX_CHARACTERS:,} characters, and no NUL.")
    mistake = judge(text)
    if mistake:
        raise invalid("text", mistake)


def register(*, tenant: Tenant, name: str, text: str, judge: Judge) -> TrustedDocument:
    """The tenant's document of this text, made if there is none; one that is there keeps its name."""
    check(name=name, text=text, judge=judge)
    sha256 = digest(text)
    try:
        with transaction.atomic():
            document, _ = TrustedDocument.objects.get_or_create(
                tenant=tenant, sha256=sha256, defaults={"name": name.strip(), "text": text}
            )
    except IntegrityError:
        # Another call registered it since it was looked for.
        document = TrustedDocument.objects.get(tenant=tenant, sha256=sha256)
    return document


def forget() -> None:
    """Drop what this process knows; for tests, and when documents were removed."""
    _cache.clear()
