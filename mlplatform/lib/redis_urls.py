"""Where the Redis servers of this installation are: what the operator set, else what ``make run`` of this DATA_DIR chose.

There is no default port: on a machine with two installations it is the other one's. Where neither is known the URL
names a port on which no Redis listens, so that commands without Redis work and the others are refused.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Role = Literal["state", "cache"]

_NOWHERE: Final[dict[Role, str]] = {"state": "redis://127.0.0.1:1/0", "cache": "redis://127.0.0.1:2/0"}
"""Reserved ports, refused at once; two, for the roles are told apart by their servers."""


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A server's URL and where it was read: the name of a variable, or the path of a file; empty for neither."""

    url: str
    source: str


def ports_file(data_dir: Path) -> Path:
    """Where ``make run`` keeps the ports of the servers that it started: ``{"state": 6390, "cache": 6391}``."""
    return data_dir / "run" / "ports.json"


def remembered_ports(data_dir: Path) -> dict[str, int]:
    """Ports of the last run by role; none when the file is missing or was damaged."""
    try:
        loaded = json.loads(ports_file(data_dir).read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(loaded, dict):
        return {}
    return {
        role: port
        for role, port in loaded.items()
        if isinstance(port, int) and not isinstance(port, bool) and 1024 <= port <= 65535
    }


def find(given: str, *, variable: str, role: Role, data_dir: Path) -> RedisUrl:
    """The URL in ``given``, the value of ``variable``; else that of the server which ran last from ``data_dir``."""
    if given:
        return RedisUrl(given, variable)
    port = remembered_ports(data_dir).get(role)
    if port is not None:
        return RedisUrl(f"redis://127.0.0.1:{port}/0", str(ports_file(data_dir)))
    return RedisUrl(_NOWHERE[role], "")
