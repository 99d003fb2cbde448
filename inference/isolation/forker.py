"""A process that has loaded the libraries once and forks one child for each tenant's model: ``python -m …forker FD``.

A fresh interpreter with torch takes a second and 140 MB; a fork of this one some milliseconds and what its model needs. It has
no secret in its environment, no connection but that to its worker, and no thread.
"""

import contextlib
import os
import signal
import socket
import sys
from typing import Final

from inference.isolation import child, walls

_ORDER_BYTES: Final = 64


def serve(control: socket.socket) -> None:
    """``fork`` (with the child's end of a channel) answers the child's process id; ``end <pid>`` ends a child for good."""
    while True:
        message, handles, _, _ = socket.recv_fds(control, _ORDER_BYTES, 1)
        if not message:
            return  # The worker is gone: the children end with this process.
        if message == b"fork":
            pid = _fork(control, handles[0])
            os.close(handles[0])
            control.sendall(b"%d\n" % pid)
        elif message.startswith(b"end "):
            control.sendall(b"%d\n" % _end(int(message[4:])))


def _fork(control: socket.socket, handle: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        walls.die_with_parent()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        control.close()
        # What a library says of each panic: a tenant could fill the log with it.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        os.close(nowhere)
        with socket.socket(fileno=handle) as channel:
            child.serve(channel)
        status = 0
    finally:
        os._exit(status)


def _end(pid: int) -> int:
    """The status with which it ended. It cannot be another process of the same number: it was not waited for before."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


if __name__ == "__main__":
    walls.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve(given)
