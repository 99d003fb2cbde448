"""The process behind :func:`bench.open_loop.run`: ``python -m bench.open_loop_client``.

It reads a :class:`Job` as JSON from standard input and prints an :class:`OpenLoopOutcome`. One process, one thread;
idle keep-alive connections are used again, and more are opened as they are needed.
"""

import errno
import selectors
import socket
import sys
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from bench import texts
from bench.open_loop import BROKEN, NO_ANSWER, NOT_SENT, OK, Job, OpenLoopOutcome, Seen, Stream, percentile, timetable

_RECEIVE: Final = 65536
_TEXTS: Final = 2000


@dataclass(slots=True, eq=False)
class _Connection:
    """A connection, the request on its way on it, and what has come of its answer."""

    socket: socket.socket
    stream: int = 0
    due_at: float = 0.0
    unsent: bytes = b""
    received: bytes = b""


@dataclass(slots=True)
class _Tally:
    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: Counter[int] = field(default_factory=Counter)


class Generator:
    """One run of one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._selector = selectors.DefaultSelector()
        self._idle: deque[_Connection] = deque()
        self._busy: OrderedDict[_Connection, None] = OrderedDict()  # in the order of being sent
        self._tallies = [_Tally() for _ in job.streams]
        self._late: list[float] = []
        self._messages = _messages(job)
        self._started = 0.0

    def run(self) -> OpenLoopOutcome:
        """Keep the timetable, then wait for what is on its way, as long as the clients' patience lasts."""
        due = deque(timetable(self._job.streams, seconds=self._job.seconds, seed=self._job.seed))
        cpu = time.process_time()
        self._started = time.perf_counter()
        ended_at = time.time() + self._job.seconds
        hang_up_at = 0.0
        while due or self._busy:
            now = time.perf_counter()
            while due and due[0][0] + self._started <= now:
                at, stream = due.popleft()
                self._late.append(now - self._started - at)
                self._send(stream, at + self._started)
            wait_s = min(0.1, max(0.0, due[0][0] + self._started - time.perf_counter())) if due else 0.1
            for key, events in self._selector.select(wait_s):
                self._progress(key.data, events)
            if now >= hang_up_at:
                self._hang_up(now)
                hang_up_at = now + 0.1
        for connection in self._idle:
            connection.socket.close()
        self._selector.close()
        return OpenLoopOutcome(
            seen=[self._seen(index) for index in range(len(self._tallies))],
            late_ms=percentile(sorted(self._late), 0.99) * 1000,
            cpu_s=time.process_time() - cpu,
            ended_at=ended_at,
        )

    def _send(self, stream: int, due_at: float) -> None:
        message = self._messages[stream].__next__()
        if self._idle:
            connection = self._idle.pop()
        elif len(self._busy) < self._job.connections:
            connection = self._open()
        else:
            self._tallies[stream].statuses[NOT_SENT] += 1
            return
        connection.stream, connection.due_at, connection.received, connection.unsent = stream, due_at, b"", message
        self._busy[connection] = None
        self._write(connection)

    def _open(self) -> _Connection:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(made)
        # A full backlog lets this hang for seconds; the timetable must not hang with it.
        result = made.connect_ex(("127.0.0.1", self._job.port))
        if result not in (0, errno.EINPROGRESS):
            raise OSError(result, "no connection could be opened")
        self._selector.register(made, selectors.EVENT_READ, connection)
        return connection

    def _write(self, connection: _Connection) -> None:
        try:
            sent = connection.socket.send(connection.unsent)
            connection.unsent = connection.unsent[sent:]
        except (BlockingIOError, OSError) as error:
            if error.errno not in (errno.EAGAIN, errno.ENOTCONN, errno.EINPROGRESS):
                self._end(connection, BROKEN)
                return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        if self._selector.get_key(connection.socket).events != wanted:
            self._selector.modify(connection.socket, wanted, connection)

    def _progress(self, connection: _Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE and connection.unsent:
            self._write(connection)
        if events & selectors.EVENT_READ:
            self._read(connection)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(connection, BROKEN)
            return
        connection.received += data
        length = complete(connection.received)
        if length is not None:
            self._answered(connection, length)

    def _answered(self, connection: _Connection, length: int) -> None:
        answer, tally = connection.received[:length], self._tallies[connection.stream]
        status = answer[9:12].decode("ascii", "replace")
        tally.statuses[status] += 1
        if status == OK:
            now = time.perf_counter()
            tally.latencies.append((now - connection.due_at) * 1000)
            tally.seconds[int(now - self._started)] += 1
            if b'"predictions"' not in answer and len(tally.wrong) < 20:
                tally.wrong.append(answer[:600].decode(errors="replace"))
        self._busy.pop(connection, None)
        if b"\r\nconnection: close" in answer.lower():
            self._close(connection)
        else:
            self._idle.append(connection)

    def _hang_up(self, now: float) -> None:
        """Close the connections whose client has lost patience. All clients are equally patient."""
        while self._busy:
            oldest = next(iter(self._busy))
            if oldest.due_at + self._job.patience_s > now:
                return
            self._end(oldest, NO_ANSWER)

    def _end(self, connection: _Connection, why: str) -> None:
        """The connection is of no use any more; if a request was on its way, this is what became of it."""
        if connection in self._busy:
            del self._busy[connection]
            self._tallies[connection.stream].statuses[why] += 1
        elif connection in self._idle:
            self._idle.remove(connection)
        self._close(connection)

    def _close(self, connection: _Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()

    def _seen(self, index: int) -> Seen:
        tally = self._tallies[index]
        last = max(tally.seconds, default=-1)
        return Seen(
            name=self._job.streams[index].name,
            statuses=dict(tally.statuses),
            latencies_ms=sorted(tally.latencies),
            wrong=tally.wrong,
            good_by_second=[tally.seconds[second] for second in range(last + 1)],
        )


def complete(received: bytes) -> int | None:
    """The length of the answer, headers included, when it is there as a whole."""
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head = received[:head_end].lower()
    at = head.find(b"content-length:")
    length = head_end + 4 + (int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
    return length if len(received) >= length else None


def _messages(job: Job) -> list[Iterator[bytes]]:
    samples = texts.distinct(_TEXTS, seed=job.seed)
    return [_of(stream, job, samples) for stream in job.streams]


def _of(stream: Stream, job: Job, samples: list[str]) -> Iterator[bytes]:
    """Requests without end, no text twice: a number at its end keeps a text from being in the cache."""
    sent = {"Host": f"127.0.0.1:{job.port}", "Content-Type": "application/json", **stream.headers}
    head = "POST /v2/predict HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    number = 0
    while True:
        text = f"{samples[number % len(samples)]} {stream.name} {number}"
        body = msgspec.json.encode({"model": "sentiment", "input": text})
        yield f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        number += 1


if __name__ == "__main__":
    _job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    sys.stdout.buffer.write(msgspec.json.encode(Generator(_job).run()))
