"""The load generator: one process, one thread, keep-alive connections, every answer checked.

``python -m bench.client`` reads one :class:`Job` as JSON from standard input and prints one :class:`ClientOutcome`.
"""

import selectors
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

_ROOT: Final = Path(__file__).resolve().parent.parent
_TIMEOUT_S: Final = 60.0
_RECEIVE: Final = 65536
UNKNOWN: Final = -1.0
"""In place of the score or latency of a text that got no good answer."""
_UNAVAILABLE_SHARE: Final = 0.01


class Job(msgspec.Struct, frozen=True):
    """What to send: the texts in turn, again from the first when they run out, until one of the bounds is reached.

    ``cached`` is what every answer must say of itself; ``port`` is on loopback; ``scores`` and ``latencies`` ask for
    those of each text.
    """

    port: int
    headers: dict[str, str]
    texts: list[str]
    connections: int
    requests: int
    cached: bool
    seconds: float = 120.0
    scores: bool = False
    latencies: bool = False


class ClientOutcome(msgspec.Struct, frozen=True):
    """What came back. ``wall_s`` is from the first request to the last answer; ``scores`` of "positive" and ``latencies_ms``
    (of the last time) by text.

    ``requests`` were answered well; ``unavailable`` got a 503, which is an honest answer but not the one asked for.
    """

    requests: int
    unavailable: int
    wall_s: float
    p50_ms: float
    p99_ms: float
    wrong: list[str]
    scores: list[float]
    latencies_ms: list[float] = []

    @property
    def per_second(self) -> float:
        return self.requests / self.wall_s


class _Prediction(msgspec.Struct):
    label: str
    score: float


class _Usage(msgspec.Struct):
    units: int


class _Answer(msgspec.Struct):
    id: str
    model: str
    model_version: str
    predictions: list[_Prediction]
    usage: _Usage
    cached: bool
    latency_ms: float


def run(job: Job, *, timeout_s: float = 150.0) -> ClientOutcome:
    """Let a process of its own do the job.

    Raises RuntimeError with the first wrong answer if there was any, or when more than a hundredth was unavailable.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.client"],
        input=msgspec.json.encode(job),
        capture_output=True,
        cwd=_ROOT,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The load generator failed: {done.stderr.decode()[-2000:]}")
    outcome = msgspec.json.decode(done.stdout, type=ClientOutcome)
    if outcome.wrong:
        raise RuntimeError(f"{len(outcome.wrong)} wrong answers, the first: {outcome.wrong[0]}")
    if outcome.unavailable > _UNAVAILABLE_SHARE * (outcome.requests + outcome.unavailable):
        raise RuntimeError(f"{outcome.unavailable} answers were 503, beside {outcome.requests} good ones.")
    return outcome


@dataclass(slots=True)
class _Connection:
    """One keep-alive connection and the request that is on its way."""

    socket: socket.socket
    number: int = 0
    sent_at: float = 0.0
    received: bytes = b""


class Generator:
    """A closed loop: each connection sends its next request when it has its answer."""

    def __init__(self, job: Job, messages: list[bytes] | None = None) -> None:
        self._job = job
        self._messages = messages or [_message(job.port, job.headers, text) for text in job.texts]
        self._next = 0
        self._ids: set[str] = set()
        self._latencies: list[float] = []
        self._wrong: list[str] = []
        self._unavailable = 0
        self._scores = [UNKNOWN] * (len(job.texts) if job.scores else 0)
        self._by_text = [UNKNOWN] * (len(job.texts) if job.latencies else 0)

    def run(self) -> ClientOutcome:
        selector = selectors.DefaultSelector()
        connections = [_connect(self._job.port) for _ in range(min(self._job.connections, self._job.requests))]
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        started = time.perf_counter()
        self._end_at = started + self._job.seconds
        busy = sum(self._send(connection) for connection in connections)
        while busy:
            ready = selector.select(_TIMEOUT_S)
            if not ready:
                raise TimeoutError(f"{busy} requests got no answer within {_TIMEOUT_S:g} s")
            for key, _ in ready:
                busy -= self._read(key.data)
        wall_s = time.perf_counter() - started
        selector.close()
        for connection in connections:
            connection.socket.close()
        return self._outcome(wall_s)

    def _send(self, connection: _Connection) -> bool:
        """Send the next request; False when there is none any more."""
        now = time.perf_counter()
        if self._next >= self._job.requests or now >= self._end_at:
            return False
        connection.number = self._next % len(self._messages)
        self._next += 1
        connection.sent_at = now
        connection.received = b""
        connection.socket.sendall(self._messages[connection.number])
        return True

    def _read(self, connection: _Connection) -> bool:
        """Take what came; True when the answer is complete and no further request was sent."""
        data = connection.socket.recv(_RECEIVE)
        if not data:
            raise ConnectionError("the server closed a connection")
        received = connection.received = connection.received + data
        answer = _split(received)
        if answer is None:
            return False
        if answer[0].startswith(b"http/1.1 503 "):
            self._unavailable += 1
        else:
            taken_s = time.perf_counter() - connection.sent_at
            self._latencies.append(taken_s)
            if self._by_text:
                self._by_text[connection.number] = taken_s * 1000
            self.check(connection.number, *answer)
        return not self._send(connection)

    def check(self, number: int, head: bytes, body: bytes) -> None:
        """Look at an answer to the message of this number; what is wrong with it goes to :meth:`complain`."""
        try:
            answer = _checked(head, body, cached=self._job.cached)
        except ValueError as error:
            self.complain(str(error))
            return
        if answer.id in self._ids:
            self.complain(f"an id that was given before: {answer.id}")
        self._ids.add(answer.id)
        if self._scores:
            self._scores[number] = next(each.score for each in answer.predictions if each.label == "positive")

    def complain(self, what: str) -> None:
        """An answer was wrong."""
        self._wrong.append(what)

    def _outcome(self, wall_s: float) -> ClientOutcome:
        ordered = sorted(self._latencies)
        return ClientOutcome(
            requests=len(ordered),
            unavailable=self._unavailable,
            wall_s=wall_s,
            p50_ms=ordered[len(ordered) // 2] * 1000 if ordered else 0.0,
            p99_ms=ordered[len(ordered) * 99 // 100] * 1000 if ordered else 0.0,
            wrong=self._wrong[:20],
            scores=self._scores,
            latencies_ms=self._by_text,
        )


class Single:
    """One connection in this process, for one request at a time."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._port = port
        self._headers = headers
        self._socket = _connect(port).socket

    def __enter__(self) -> "Single":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, text: str, *, cached: bool) -> None:
        """Send one text and wait for its answer. Raises ValueError when it is wrong."""
        self._socket.sendall(_message(self._port, self._headers, text))
        received = b""
        while (answer := _split(received)) is None:
            data = self._socket.recv(_RECEIVE)
            if not data:
                raise ConnectionError("the server closed a connection")
            received += data
        _checked(*answer, cached=cached)


_decode: Final = msgspec.json.Decoder(_Answer).decode


def _split(received: bytes) -> tuple[bytes, bytes] | None:
    """Head and body of an answer; None while it is not complete."""
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head = received[:head_end].lower()
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return None if len(received) < head_end + 4 + length else (head, received[head_end + 4 :])


def _checked(head: bytes, body: bytes, *, cached: bool) -> _Answer:
    """The answer. Raises ValueError when it is not a whole and sensible answer about ``sentiment``."""
    if head.startswith(b"http/1.1 200 "):
        answer = _decode(body)  # A DecodeError is a ValueError.
        scores = {prediction.label: prediction.score for prediction in answer.predictions}
        if (
            answer.model == "sentiment"
            and answer.cached is cached
            and scores.keys() == {"positive", "negative"}
            and abs(sum(scores.values()) - 1) < 1e-4
        ):
            return answer
    raise ValueError(f"{head.decode()[:400]} {body.decode()[:400]}")


def _connect(port: int) -> _Connection:
    made = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _Connection(made)


def _message(port: int, headers: dict[str, str], text: str) -> bytes:
    body = msgspec.json.encode({"model": "sentiment", "input": text})
    sent = {"Host": f"127.0.0.1:{port}", "Content-Type": "application/json", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"POST /v2/predict HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode(Generator(msgspec.json.decode(sys.stdin.buffer.read(), type=Job)).run())
    )
