"""Runs scripts on a connection that belongs to the calling thread.

redis-py takes a connection from a pool and gives it back around each command, which costs more CPU than the command
(measured on two cores: 110 µs against 35 µs a call). Admission runs once for every prediction, so it keeps one
connection a thread and speaks on it directly. After a time-out nothing is sent again. What went to a connection that
the server had closed is sent once more: if a dying server did run it, its hold ids make the repetition take nothing.

redis-py still opens the connection (time-outs, password, TLS) and reads the answers. Its socket is spoken on directly,
with time-outs that the kernel keeps: a socket with Python's time-outs polls before each call, and each system call
gives the interpreter's lock away, for which the web process's threads then queue.
"""

import contextlib
import ctypes
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import hiredis
import redis
from redis.connection import ConnectionPool
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import InvalidResponse, NoScriptError, ResponseError
from redis.exceptions import TimeoutError as TimedOut

from mlplatform.lib.redis import UNANSWERED, Script

_RECEIVE: Final = 8192
_NOTHING: Final = object()

_threads: Final = threading.local()


def run(
    client: redis.Redis, script: Script, keys: Sequence[bytes], args: Sequence[bytes], *, whole: bool = False
) -> Any:
    """The script's answer, in one round trip, or two after the server forgot its scripts. Raises what redis-py raises.

    ``whole`` sends the text at once: a stalled server runs it when it wakes, even if no client is left to send it again.
    """
    line = _line(client.connection_pool)
    rest: tuple[str | bytes, ...] = (str(len(keys)), *keys, *args)
    if whole:
        return line.ask(("EVAL", script.source, *rest))
    try:
        return line.ask(("EVALSHA", script.sha, *rest))
    except NoScriptError:
        return line.ask(("EVAL", script.source, *rest))


def command(client: redis.Redis, *parts: str | bytes) -> Any:
    """The answer to one command. Raises what redis-py raises; may be sent twice, as :class:`_Line` says."""
    return _line(client.connection_pool).ask(parts)


class Pipeline:
    """Scripts that go out together, by their SHA-1, on this thread's connection."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._runs: list[tuple[Script, bytes]] = []

    def run(self, script: Script, keys: Sequence[str | bytes], args: Sequence[str | bytes]) -> None:
        """Add one run of a script."""
        self._runs.append((script, _packed("EVALSHA", script.sha, str(len(keys)), *keys, *args)))

    def execute(self) -> list[Any]:
        """The answers in order, in one round trip, or two after the server forgot its scripts: then it is sent the texts of those
        that it does not know, with those that each runs ``after``, and their runs once more, in order.

        Raises what redis-py raises, and the first error that a run got.
        """
        runs, self._runs = self._runs, []
        line = _line(self._pool)
        answers = line.ask_all(b"".join(packed for _, packed in runs), answers=len(runs))
        unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            texts = dict.fromkeys(each.source for at in unknown for each in (*runs[at][0].after, runs[at][0]))
            load = [_packed("SCRIPT", "LOAD", text) for text in texts]
            again = b"".join([*load, *(runs[at][1] for at in unknown)])
            found = line.ask_all(again, answers=len(load) + len(unknown))[len(load) :]
            for at, answer in zip(unknown, found, strict=True):
                answers[at] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


def _packed(*parts: str | bytes) -> bytes:
    command: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type]
    return command


class _Line:
    """A connection of redis-py that one thread keeps."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._connection: Any = pool.connection_class(**pool.connection_kwargs)
        self._plain: socket.socket | None = None
        self._reader: Any = None
        self._sent = False

    def ask(self, command: tuple[str | bytes, ...]) -> Any:
        """Send one command and read its answer. Raises what redis-py raises.

        It is sent again when the server had closed a connection that served before (a restart, an idle time-out).
        """
        (answer,) = self.ask_all(_packed(*command), answers=1)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask_all(self, packed: bytes, *, answers: int) -> list[Any]:
        """The same for several packed commands; an error that a command got stands in its place."""
        used_before = self._connection._sock is not None
        self._sent = False
        try:
            try:
                return self._exchange(packed, answers)
            except Disconnected:
                if not used_before:
                    raise
            return self._exchange(packed, answers)
        except BaseException as error:
            if self._sent:
                error.add_note(UNANSWERED)
            raise

    def _exchange(self, packed: bytes, answers: int) -> list[Any]:
        try:
            if self._connection._sock is None:
                self._open()
            self._sent = True
            if self._plain is not None:
                return self._exchange_plainly(self._plain, packed, answers)
            self._connection.send_packed_command([packed], check_health=False)
            return [self._read() for _ in range(answers)]
        except BaseException:
            # An answer may still be on its way, and must not be taken for the next one's.
            self._plain = None
            self._connection.disconnect()
            raise

    def _read(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error  # The server answered, so the connection is in step.

    def _exchange_plainly(self, plain: socket.socket, packed: bytes, answers: int) -> list[Any]:
        reader = self._reader
        found: list[Any] = []
        try:
            _send_all(plain, packed)
            while len(found) < answers:
                data = plain.recv(_RECEIVE)
                if not data:
                    raise Disconnected("Connection closed by server.")
                reader.feed(data)
                while (answer := reader.gets()) is not _NOTHING:
                    if type(answer) is not hiredis.PushNotification:
                        found.append(answer)
        except BlockingIOError as error:
            raise TimedOut("Timeout while speaking to the server.") from error
        except OSError as error:
            raise Disconnected(f"Error while speaking to the server: {error}") from error
        return found

    def _open(self) -> None:
        connection = self._connection
        connection.connect()
        if not isinstance(connection._sock, ssl.SSLSocket):
            self._plain = connection._sock
            self._reader = hiredis.Reader(
                protocolError=InvalidResponse, replyError=connection._parser.parse_error, notEnoughData=_NOTHING
            )
            _let_the_kernel_time_out(connection._sock, connection.socket_timeout)


def _send_now() -> Callable[[int, bytes, int, int], int] | None:
    # PyDLL keeps the interpreter's lock during the call: to give it away for the microseconds of a send that does not
    # wait costs more than the send, because the thread queues for the lock again. None where C has no such call.
    with contextlib.suppress(OSError, AttributeError, TypeError):
        send = ctypes.PyDLL(None).send
        send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
        send.restype = ctypes.c_ssize_t
        return send
    return None


_send: Final = _send_now()
_AT_ONCE: Final = getattr(socket, "MSG_DONTWAIT", 0) | getattr(socket, "MSG_NOSIGNAL", 0)


def _send_all(plain: socket.socket, packed: bytes) -> None:
    """Send all of it; what the socket does not take at once, and every failure, is left to Python's ``sendall``."""
    sent = max(0, _send(plain.fileno(), packed, len(packed), _AT_ONCE)) if _send else 0
    if sent < len(packed):
        plain.sendall(packed[sent:])


def _let_the_kernel_time_out(plain: socket.socket, seconds: float | None) -> None:
    plain.settimeout(None)
    whole, rest = divmod(seconds or 0.0, 1.0)
    timeval = struct.pack("ll", int(whole), int(rest * 1e6))
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)


def _line(pool: ConnectionPool) -> _Line:
    """This thread's connection to the pool's server."""
    lines: WeakKeyDictionary[ConnectionPool, _Line] | None = getattr(_threads, "lines", None)
    if lines is None or _threads.pid != os.getpid():
        # A forked child shares its parent's sockets, so it must not speak on them.
        lines = _threads.lines = WeakKeyDictionary()
        _threads.pid = os.getpid()
    line = lines.get(pool)
    if line is None:
        line = lines[pool] = _Line(pool)
    return line
