"""The listening socket of the web processes, held by the launcher: it outlives each of them.

A web process asks for it over a Unix socket and gets a descriptor of its own (SCM_RIGHTS), so that no other process of the
product inherits it. Who connects while no web process accepts waits for the next one. supervisord's ``[fcgi-program]`` would
close the socket with the last process, knows no IPv6, and would drain web and gRPC one after the other.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from mlplatform.http.listening import bound
from mlplatform.run.environment import LaunchPlan

# The kernel allows 104 to 108 bytes.
_LONGEST_PATH = 100


class WebSocket:
    """The bound socket, and the place where it is handed out. It listens when the first web process does."""

    def __init__(self, plan: LaunchPlan) -> None:
        self._own_folder: Path | None = None
        self.holder = plan.run_dir / "web.sock"
        if len(os.fsencode(self.holder)) > _LONGEST_PATH:
            self._own_folder = Path(tempfile.mkdtemp(prefix="mlp-"))
            self.holder = self._own_folder / "web.sock"
        self.holder.unlink(missing_ok=True)
        self._listener = bound(plan.web_host, plan.web_port)
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(str(self.holder))
        self.holder.chmod(0o700)
        self._door.listen(16)
        threading.Thread(target=self._hand_out, name="web-socket", daemon=True).start()

    def refuse(self) -> None:
        """Take no connection any more, when the last web process has gone for good."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of everything."""
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._listener.close()
        self.holder.unlink(missing_ok=True)
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)

    def _hand_out(self) -> None:
        while True:
            try:
                connection, _ = self._door.accept()
            except OSError:
                return  # Closed: the run is over.
            with connection, contextlib.suppress(OSError):
                socket.send_fds(connection, [b"w"], [self._listener.fileno()])


@contextlib.contextmanager
def held(plan: LaunchPlan) -> Iterator[WebSocket]:
    """The socket for the time of the block. Raises OSError where the address is taken."""
    web_socket = WebSocket(plan)
    try:
        yield web_socket
    finally:
        web_socket.close()
