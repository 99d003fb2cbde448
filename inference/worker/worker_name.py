"""A name for this worker that it has again after a restart: the lowest place of its queue that is free on this machine."""

import fcntl
import logging
import os
import socket
from pathlib import Path
from typing import Final

from django.conf import settings

logger = logging.getLogger(__name__)

_MOST: Final = 256
_held: Final[list[int]] = []


def claim(queue: str) -> str:
    """Such as ``gpu-1@host``; ``WORKER_NAME`` if that is set.

    The place is a locked file, which the kernel lets go of when the process ends, however it ends: a worker that is killed
    and started again has its old name, and with it the order to drain that staff gave it. Where no file can be locked the
    name holds the process id instead.
    """
    host = socket.gethostname()
    if settings.WORKER_NAME:
        return f"{settings.WORKER_NAME}@{host}"
    folder = Path(settings.DATA_DIR) / "run" / "workers"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(1, _MOST + 1):
            if _lock(folder / f"{queue}-{number}.lock"):
                return f"{queue}-{number}@{host}"
    except OSError as error:
        logger.warning("no place could be claimed (%s); the worker is named after its process", error)
    return f"{queue}@{host}:{os.getpid()}"


def let_go() -> None:
    """Free this process's places. Tests use it; a process that ends has nothing to do."""
    while _held:
        os.close(_held.pop())


def _lock(path: Path) -> bool:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False
    _held.append(handle)  # open, and so locked, for as long as the process lives
    return True
