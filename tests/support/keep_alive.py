"""Clients that keep their connections: each sends its next request when it has its answer, and connects anew when told to."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass
class KeepAliveLoad:
    """Calls of one address over connections that stay. ``failures`` are connections that were refused or broke."""

    port: int
    path: str
    body: bytes
    headers: Mapping[str, str]
    clients: int = 8
    statuses: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    connections: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for number in range(self.clients):
            thread = threading.Thread(target=self._run, name=f"keep-alive-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._stop.is_set():
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                    self.connections += 1
                connection.request("POST", self.path, body=self.body, headers=dict(self.headers))
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection = None
                self._stop.wait(0.05)
                continue
            self.statuses.append(answer.status)
            if answer.will_close:
                connection.close()
                connection = None
