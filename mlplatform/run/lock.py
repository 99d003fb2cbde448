"""One launcher per DATA_DIR, by a lock that the kernel lets go of when its holder dies in whatever way."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from mlplatform.run.problems import LaunchError


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock for the block; raises LaunchError that names the launcher which holds it already."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            raise LaunchError(
                f"The product already runs from this DATA_DIR (process {holder}): stop that one with Ctrl-C "
                f"or `kill {holder}`, or give another DATA_DIR and ports."
            ) from error
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)
