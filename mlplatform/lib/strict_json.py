"""JSON as it should have been: everything that two parsers could read differently is refused.

Python's parser keeps the last of two equal keys, accepts NaN, turns 1e400 into infinity, lets lone surrogates
through, and fails with a RecursionError on deep nesting; each of these is a clear error here.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from mlplatform.lib.errors import ErrorKind, PlatformError

MAX_DEPTH: Final = 32
_MAX_KEY: Final = 100
_SHORT: Final = 300  # bytes; below the 309 digits of the largest double
_LARGE_NUMBER: Final = re.compile(rb"\d[eE]")


def loads(body: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse a UTF-8 body. Raises ``PlatformError(MALFORMED)`` that names the place and the reason."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(f"The body is not UTF-8: byte {error.start} cannot be read.") from error
    if text.startswith("\ufeff"):
        raise _malformed("The body is not JSON: it begins with a byte order mark; send plain UTF-8.")
    try:
        value = _decode(text)
    except json.JSONDecodeError as error:
        raise _malformed(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except RecursionError as error:
        raise _malformed(f"The body is nested deeper than {max_depth} levels.") from error
    except ValueError as error:
        # CPython refuses integers of more than 4,300 digits with a plain ValueError.
        raise _malformed("The body has an integer with too many digits.") from error
    if not _is_plain(body, max_depth):
        _check(value, "", max_depth, max_depth)
    return value


def present(members: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object's members without those that are null, which say no more than members that are absent."""
    if None not in members.values():
        return members
    return {name: value for name, value in members.items() if value is not None}


def _is_plain(body: bytes, max_depth: int) -> bool:
    """Whether a look at the bytes shows that :func:`_check` would find nothing; so it is for most calls.

    Surrogates and NUL need an escape in ASCII, a number too large needs an exponent or many digits.
    """
    return (
        len(body) <= _SHORT
        and body.isascii()
        and b"\\" not in body
        and body.count(b"[") + body.count(b"{") <= max_depth
        and not _LARGE_NUMBER.search(body)
    )


def _malformed(detail: str, field: str | None = None) -> PlatformError:
    return PlatformError(ErrorKind.MALFORMED, detail, field=field)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _malformed(f"The key {key[:100]!r} stands twice in one object.")
            seen.add(key)
    return result


def _refuse_constant(name: str) -> Any:
    raise _malformed(f"{name} is not a JSON number.")


_decode: Final = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant).decode


def _check(value: Any, path: str, depth_left: int, max_depth: int) -> None:
    if isinstance(value, str):
        if not value.isascii():
            _check_text(value, path)
        elif "\x00" in value:
            raise _malformed(f"{path or 'The body'} has a NUL character.", path or None)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _malformed(f"{path or 'The body'} has a number too large for a double.", path or None)
    elif isinstance(value, list | dict):
        if depth_left == 0:
            raise _malformed(f"The body is nested deeper than {max_depth} levels.")
        if isinstance(value, dict):
            for key, item in value.items():
                _check(key, path, depth_left, max_depth)
                _check(item, f"{path}.{_short(key)}" if path else _short(key), depth_left - 1, max_depth)
        else:
            for index, item in enumerate(value):
                # Exact types first: a tensor of a thousand floats must not cost a thousand function calls.
                if type(item) is int or (type(item) is float and math.isfinite(item)):
                    continue
                _check(item, f"{path}[{index}]", depth_left - 1, max_depth)


def _short(key: str) -> str:
    """A key as it is repeated in an answer: a caller's megabyte of key is not."""
    return key if len(key) <= _MAX_KEY else f"{key[:_MAX_KEY]}…"


def _check_text(value: str, path: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _malformed(f"{path or 'The body'} has a lone surrogate at character {error.start}.") from error
    if "\x00" in value:
        raise _malformed(f"{path or 'The body'} has a NUL character.", path or None)
