"""A TCP proxy that counts bytes, and before a Redis server round trips: what a client sends before it gets an answer."""

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Final

_RECEIVE: Final = 65536


class CountingProxy:
    """Passes bytes both ways, unchanged. The counters only grow; read them when clients are quiet."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.round_trips = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self.commands: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Close the listener and every connection; the threads end with them."""
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                return
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open += [client, server]
            waiting = threading.Event()  # set between the first bytes of a request and the first bytes of its answer
            threading.Thread(target=self._requests, args=(client, server, waiting), daemon=True).start()
            threading.Thread(target=self._answers, args=(server, client, waiting), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, waiting: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_RECEIVE):
                if not waiting.is_set():
                    waiting.set()
                    with self._lock:
                        self.round_trips += 1
                        self.commands[_command(data)] += 1
                with self._lock:
                    self.bytes_sent += len(data)
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _answers(self, server: socket.socket, client: socket.socket, waiting: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_RECEIVE):
                waiting.clear()
                with self._lock:
                    self.bytes_received += len(data)
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)


def _command(data: bytes) -> str:
    """The name of the first command, such as EVALSHA: ``*3\\r\\n$7\\r\\nEVALSHA\\r\\n…``."""
    parts = data.split(b"\r\n", 3)
    return parts[2].decode(errors="replace").upper() if len(parts) > 3 else "?"


@contextlib.contextmanager
def before(target_port: int) -> Iterator[CountingProxy]:
    """A proxy before the server on this port of loopback."""
    proxy = CountingProxy(target_port)
    try:
        yield proxy
    finally:
        proxy.close()
