"""The socket that a web process listens on: the one that the launcher holds for all of them, or one of its own."""

import os
import socket
from pathlib import Path
from typing import Final

HOLDER: Final = "WEB_SOCKET"
"""The variable with the path of a Unix socket that hands out the listening socket (``mlplatform.run.web_socket``)."""
_PATIENCE_S: Final = 10.0


def taken(host: str, port: int) -> socket.socket:
    """The socket, bound. Raises OSError."""
    holder = os.environ.get(HOLDER, "")
    return _handed_over(holder) if holder else bound(host, port)


def ready_file(data_dir: Path, pid: int) -> Path:
    """Is there while the web process takes connections; a restart waits for it."""
    return data_dir / "run" / f"web-{pid}.ready"


def bound(host: str, port: int) -> socket.socket:
    """A socket of one's own. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _handed_over(holder: str) -> socket.socket:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PATIENCE_S)
        connection.connect(holder)
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
    if not descriptors:
        raise OSError(f"{holder} did not hand over a socket")
    return socket.socket(fileno=descriptors[0])
