"""The HTTP front on a socket of its own, before a small WSGI application, and a client that says each byte itself."""

from __future__ import annotations

import hashlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from mlplatform.http.bridge import WSGIApplication
from mlplatform.http.door import Door
from mlplatform.http.environ import FileWrapper
from mlplatform.http.front import Front
from mlplatform.http.limits import Limits
from mlplatform.http.listening import bound
from mlplatform.http.server import Server

LIMITS = Limits(
    body_bytes=100_000,
    upload_bytes=8_000_000,
    head_s=2.0,
    body_s=6.0,
    upload_s=20.0,
    body_grace_s=1.5,
    body_bytes_per_s=1_000,
    bodies_per_address=400,
    bodies_per_key=400,
    bodies_in_memory=64_000_000,
    uploads=4,
    reader_s=2.0,
    keep_alive_s=30.0,
    connections=1_000,
    threads=4,
    waiting=8,
    drain_s=5.0,
)
"""Short enough for tests to see them pass."""

UPLOAD = "/v2/models/shapes/versions"
LARGE = bytes(range(256)) * 80_000
FILE_BYTES = 30_000_000


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Says what it got, and has addresses for all that is slow or large."""
    path = environ["PATH_INFO"]
    if path == "/refuse" or (path == UPLOAD and environ.get("HTTP_AUTHORIZATION") != "Bearer good"):
        start_response("401 Unauthorized", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return (b"no",)
    if path in {"/slow", "/static/slow"}:
        time.sleep(float(environ["QUERY_STRING"]))
    if path == "/large":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return [LARGE]
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/csv")])
        return (b"%07d\n" % number * 1_000 for number in range(2_000))
    if path == "/file":
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the front closes it
        file.truncate(FILE_BYTES)
        start_response("200 OK", [("Content-Length", str(FILE_BYTES))])
        return FileWrapper(file)
    if path == "/fail":
        raise ValueError("a mistake")
    digest, size = hashlib.sha256(), 0
    source = environ["wsgi.input"]
    while piece := source.read(65_536):
        digest.update(piece)
        size += len(piece)
    if size < int(environ.get("CONTENT_LENGTH", 0)):
        start_response("413 Content Too Large", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return (b"large",)
    said: dict[str, Any] = {name: value for name, value in environ.items() if isinstance(value, str)}
    said |= {"size": size, "sha256": digest.hexdigest()}
    body = json.dumps(said).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class Client:
    """One connection."""

    def __init__(self, port: int, *, buffer: int = 0) -> None:
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(20.0)
        self.socket.connect(("127.0.0.1", port))
        self._file = self.socket.makefile("rb")

    def send(self, content: bytes) -> Client:
        self.socket.sendall(content)
        return self

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        """A whole request, and its answer."""
        length = {"Content-Length": str(len(body))} if body else {}
        self.send(head(method, path, **length, **headers) + body)
        return self.answer(head_only=method == "HEAD")

    def answer(self, *, head_only: bool = False) -> Reply:
        """Read one answer; raises ConnectionError where there is none."""
        line = self._file.readline()
        if not line:
            raise ConnectionError("closed without an answer")
        status = int(line.split()[1])
        headers = {}
        while (each := self._file.readline().rstrip()) and each:
            name, _, value = each.decode().partition(": ")
            headers[name.lower()] = value
        body = b""
        if head_only or status in {100, 204, 304}:
            pass
        elif headers.get("transfer-encoding") == "chunked":
            while size := int(self._file.readline(), 16):
                body += self._file.read(size)
                self._file.readline()
            self._file.readline()
        else:
            body = self._file.read(int(headers["content-length"]))
        return Reply(status, headers, body)

    def ended(self, *, within_s: float) -> bool:
        """Whether the server closes the connection in that time; what it still sends is passed over."""
        until = time.monotonic() + within_s
        try:
            while (left := until - time.monotonic()) > 0:
                self.socket.settimeout(left)
                if not self._file.read1(65_536):
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            self.socket.settimeout(20.0)
        return False

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def head(method: str, path: str, **headers: str) -> bytes:
    """The head of a request."""
    lines = {"Host": "127.0.0.1", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return (
        f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    ).encode()


class Running:
    """A front that serves."""

    def __init__(
        self,
        limits: Limits,
        *,
        application: WSGIApplication = application,
        door: Door | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self.socket = bound("127.0.0.1", 0)
        self.port: int = self.socket.getsockname()[1]
        self._up = threading.Event()
        self._on_ready = on_ready
        self.server = Server(Front(application, limits), limits, on_ready=self._is_up, door=door)
        self._thread = threading.Thread(target=self.server.run, args=([self.socket],), name="front", daemon=True)

    def _is_up(self) -> None:
        self._on_ready()
        self._up.set()

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(10.0)

    def stop(self, *, within_s: float = 10.0) -> None:
        """Drain, and wait for the end."""
        self.server.stop()
        self._thread.join(within_s)
        assert not self._thread.is_alive()

    def client(self, *, buffer: int = 0) -> Client:
        return Client(self.port, buffer=buffer)


@contextmanager
def running(**changes: Any) -> Iterator[Running]:
    """A front with the usual short limits, some of them changed."""
    front = Running(replace(LIMITS, **changes))
    front.start()
    try:
        yield front
    finally:
        front.stop()
