"""Where the Redis servers of this installation are: what the operator set, else what ``make run`` of this DATA_DIR chose.

There is no default port: on a machine with two installations it is the other one's. Where neither is known the URL
names a port on which no Redis listens, so that commands without Redis work and the others are refused.

A server that ``make run`` started asks for a password, which lies beside the ports in a file of mode 600.
"""

import ipaddress
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, urlsplit

Role = Literal["state", "cache"]

_NOWHERE: Final[dict[Role, str]] = {"state": "redis://127.0.0.1:1/0", "cache": "redis://127.0.0.1:2/0"}
"""Reserved ports, refused at once; two, for the roles are told apart by their servers."""


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A server's URL and where it was read: the name of a variable, or the path of a file; empty for neither."""

    url: str = field(repr=False)
    source: str


def ports_file(data_dir: Path) -> Path:
    """Where ``make run`` keeps the ports of the servers that it started: ``{"state": 6390, "cache": 6391}``."""
    return data_dir / "run" / "ports.json"


def password_file(data_dir: Path) -> Path:
    """Where ``make run`` keeps the password of the servers that it started last."""
    return data_dir / "run" / "redis_password"


def on_loopback(port: int, *, password: str) -> str:
    """Database 0 of a server on this machine; an empty password is for one that asks for none."""
    user = f":{quote(password, safe='')}@" if password else ""
    return f"redis://{user}127.0.0.1:{port}/0"


def is_open_to_the_network(url: str) -> bool:
    """Whether a Redis URL has no password and names another machine; what is no Redis URL is not looked at."""
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss"} or parts.password or not parts.hostname:
        return False
    try:
        return not ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return parts.hostname != "localhost"


def remembered_password(data_dir: Path) -> str:
    """The password of the last run; empty where a release without passwords has run, or this user may not read it."""
    try:
        return password_file(data_dir).read_text().strip()
    except OSError:
        return ""


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
        url = on_loopback(port, password=remembered_password(data_dir))
        return RedisUrl(url, str(ports_file(data_dir)))
    return RedisUrl(_NOWHERE[role], "")
