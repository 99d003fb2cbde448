"""Text that only the holder of a secret can read: what lies sealed in Redis is of no use to a reader of Redis alone."""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken


def seal(text: bytes, *, secret: str) -> bytes:
    """The text, encrypted and signed. The secret must be random, of 128 bits or more; it is not kept."""
    return _box(secret).encrypt(text)


def unseal(sealed: bytes, *, secret: str) -> bytes | None:
    """The text, or None where it was sealed with another secret or was altered since."""
    try:
        return _box(secret).decrypt(sealed)
    except InvalidToken:
        return None


def name(secret: str, *, group: str) -> str:
    """Where to look up what is sealed with this secret; the name does not tell the secret."""
    digest = hashlib.sha256(f"{group}\x00{secret}".encode()).hexdigest()
    return f"{group}:{digest}"


def _box(secret: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"sealed\x00" + secret.encode()).digest()))
