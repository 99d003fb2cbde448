"""Calls and answers as people read and paste them, in guides and in notices."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

_MOST_ITEMS: Final = 8
_SHOWN_OF_MORE: Final = 3


def curl(*, api_version: str, body: Mapping[str, Any], base_url: str, key: str = "YOUR_API_KEY") -> str:
    """The call as a command that a POSIX shell takes as it stands, whatever the body holds.

    A body with ``requests`` is a batch. A ``key`` such as ``$API_KEY`` is a variable of the shell.
    """
    address = f"{base_url}/{api_version}/{'batch-predict' if 'requests' in body else 'predict'}"
    bearer = f"Authorization: Bearer {key}"
    header = f'"{bearer}"' if re.fullmatch(r"[\w$-]+", key) else shlex.quote(bearer)
    lines = [
        f"curl {shlex.quote(address)}",
        f"-H {header}",
        '-H "Content-Type: application/json"',
        f"--data-raw {shlex.quote(json.dumps(body, ensure_ascii=False))}",
    ]
    return " \\\n  ".join(lines)


def pretty(body: Mapping[str, Any]) -> str:
    """JSON for people: small values stay on one line, each object of a list on its own, long lists are cut."""
    lines = [f"  {json.dumps(name)}: {_value(value)}" for name, value in body.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def _value(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return json.dumps(value, ensure_ascii=False)
    shown = value if len(value) <= _MOST_ITEMS else value[:_SHOWN_OF_MORE]
    items = [json.dumps(item, ensure_ascii=False) for item in shown]
    if len(shown) < len(value):
        items.append(f"… {len(value) - len(shown)} more")
    if isinstance(value[0], dict):
        return "[\n    " + ",\n    ".join(items) + "\n  ]"
    return "[" + ", ".join(items) + "]"
