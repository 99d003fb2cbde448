"""A connection to Redis on which one thread sends and another waits for the answers, so that who sends waits for nothing.

What cannot be sent or answered here is for :mod:`billing.admission.connection` or redis-py to ask again: what is sent ahead must
bear being done twice.
"""

import os
import ssl
import threading
from typing import Any

import redis
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import ResponseError


class Ahead:
    """Raises on making what redis-py raises. :meth:`send` may be called from any thread, one at a time the rest."""

    def __init__(self, client: redis.Redis) -> None:
        pool = client.connection_pool
        self._connection: Any = pool.connection_class(**pool.connection_kwargs)
        self._connection.connect()
        # Two threads must not speak TLS on one connection at once.
        self._is_open = not isinstance(self._connection._sock, ssl.SSLSocket)
        # The number of a socket that another thread closes meanwhile could be another one's by the time it is written to.
        self._lock = threading.Lock()
        if not self._is_open:
            self._connection.disconnect()

    @property
    def is_open(self) -> bool:
        """Whether something may be sent."""
        return self._is_open

    def send(self, packed: bytes) -> bool:
        """Send packed commands if the socket takes all of them at once; False when it does not, and nothing more is sent here.

        Some of the commands may be done even then.
        """
        with self._lock:
            if not self._is_open:
                return False
            try:
                # redis-py's sockets have time-outs, so they do not block, and Python's own ``send`` would poll before.
                sent = os.write(self._connection._sock.fileno(), packed)
            except OSError:
                sent = 0
            self._is_open = sent == len(packed)
            return self._is_open

    def receive(self, answers: int) -> list[Any]:
        """The next answers, in the order in which was sent; an error that a command got stands in its place.

        Raises what redis-py raises; then nothing more is sent or received here.
        """
        try:
            if self._connection._sock is None:
                raise Disconnected("The connection was closed here.")
            return [self._answer() for _ in range(answers)]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection; answers that were not received are lost."""
        with self._lock:
            self._is_open = False
            self._connection.disconnect()

    def _answer(self) -> Any:
        try:
            return self._connection.read_response(disconnect_on_error=False)
        except ResponseError as error:
            return error  # The server answered, so the connection is in step.
