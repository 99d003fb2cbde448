"""Renders the configuration of the two Redis roles.

``state`` holds limits, holds, usage streams and the broker: it must forget nothing, so it never evicts and
writes an append-only file. ``cache`` holds predictions that can be computed again: it evicts the least
recently used and writes nothing. The eviction policy belongs to a server, not to a database: hence two.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from mlplatform.run.problems import LaunchError


class RedisRole(StrEnum):
    """What a Redis server is for."""

    STATE = "state"
    CACHE = "cache"


_CACHE_MAX_BYTES = 256 * 1024 * 1024
_LEAST_BYTES = 1024 * 1024

# Loopback is open to every user of the machine, so a password is asked for there as well.
# Its own process title would overwrite the environment in which the launcher looks for what a killed run left.
_COMMON = """\
bind 127.0.0.1
protected-mode yes
daemonize no
logfile ""
loglevel notice
tcp-keepalive 60
databases 16
set-proc-title no
save ""
"""

_BY_ROLE = {
    # everysec loses about a second of acknowledged writes in a power cut and nothing when the process dies.
    RedisRole.STATE: ("maxmemory-policy noeviction\nappendonly yes\nappendfsync everysec\naof-load-truncated yes\n"),
    RedisRole.CACHE: "maxmemory-policy allkeys-lru\nappendonly no\n",
}


def cache_max_bytes() -> int:
    """How much the cache server keeps before it evicts: ``CACHE_MAX_BYTES``, 256 MiB without it. Raises LaunchError."""
    given = os.environ.get("CACHE_MAX_BYTES", "")
    if not given:
        return _CACHE_MAX_BYTES
    if not (given.isascii() and given.isdigit() and int(given) >= _LEAST_BYTES):
        raise LaunchError(f"CACHE_MAX_BYTES is {given!r}; give a number of bytes, {_LEAST_BYTES:,} or more.")
    return int(given)


def render(*, role: RedisRole, port: int, directory: Path, password: str) -> str:
    """Return the text of redis.conf for one server on 127.0.0.1:port with its files in directory.

    It holds the password, so it belongs into a file that only this user may read.
    """
    bound = f"maxmemory {cache_max_bytes()}\n" if role is RedisRole.CACHE else ""
    return f'# Redis role "{role}"; written by the launcher at each start.\n' + (
        f"{_COMMON}port {port}\nrequirepass {_quoted(password)}\ndir {_quoted(str(directory))}\n{_BY_ROLE[role]}{bound}"
    )


def _quoted(value: str) -> str:
    """Redis reads a quoted value with C-like escapes, so spaces and quotes in a folder's name must be escaped."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
