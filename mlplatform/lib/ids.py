"""Identifiers: time-ordered ones for rows and holds, random ones for secrets."""

import re
import secrets
import time
import uuid
import zlib

from mlplatform.lib import randomness

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,127}")


def uuid7() -> uuid.UUID:
    """A UUID version 7 (RFC 9562): 48 bits of milliseconds, then 74 random bits; sorts by time."""
    return uuid.UUID(hex_id())


def hex_id() -> str:
    """A fresh time-ordered id of 32 hexadecimal digits; for holds, requests and messages."""
    random = randomness.block().hex()
    return f"{time.time_ns() // 1_000_000:012x}7{random[:3]}{_VARIANT[random[3]]}{random[4:19]}"


_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
"""The digit that tells a UUID of RFC 9562, with two bits of a random one."""


def base62_token(length: int) -> str:
    """``length`` random characters, 5.95 bits each, from the operating system's generator."""
    return "".join(secrets.choice(BASE62) for _ in range(length))


def base62_checksum(text: str, length: int) -> str:
    """CRC-32 of ``text`` in base 62, padded to ``length``; lets a typo be seen without a look-up."""
    value = zlib.crc32(text.encode())
    digits = []
    for _ in range(length):
        value, digit = divmod(value, 62)
        digits.append(BASE62[digit])
    return "".join(reversed(digits))


def request_id(offered: str | None) -> str:
    """The caller's own request id if it is sane (1 to 128 of ``A-Za-z0-9._:-``), else a fresh one."""
    if offered and _SANE_REQUEST_ID.fullmatch(offered):
        return offered
    return hex_id()
