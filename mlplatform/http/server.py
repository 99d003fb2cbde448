"""uvicorn's server with what a web process needs beside it: a drain, a look at every connection, and metrics."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final, cast

import uvicorn

from mlplatform.http import watching
from mlplatform.http.door import Door
from mlplatform.http.front import Front
from mlplatform.http.limits import Limits
from mlplatform.http.protocol import FrontProtocol, State
from mlplatform.lib import tally

logger = logging.getLogger(__name__)

_TICK_S: Final = 0.1
_TICKS_A_LOOK: Final = 5
_BACKLOG: Final = 2048


class Server(uvicorn.Server):
    """Serves until TERM or INT, or until :meth:`stop`; then it drains."""

    def __init__(
        self,
        front: Front,
        limits: Limits,
        *,
        on_ready: Callable[[], None] = lambda: None,
        on_drain: Callable[[], None] = lambda: None,
        door: Door | None = None,
    ) -> None:
        super().__init__(_config(front, limits))
        self._front = front
        self._limits = limits
        self._on_ready, self._on_drain = on_ready, on_drain
        self._last_tick = 0.0
        self._state = State(limits)
        self._state.end_slowest_body = front.end_slowest_body
        self._state.door = door
        self.server_state = self._state

    def stop(self) -> None:
        """Begin to drain; from any thread."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        now = asyncio.get_running_loop().time()
        if self._last_tick:
            tally.observe(watching.loop_lag, max(0.0, now - self._last_tick - _TICK_S))
        self._last_tick = now
        if counter % _TICKS_A_LOOK == 0:
            self._look(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, finish what has begun, say on each answer that it is the last, and end in time."""
        self._on_drain()
        self._state.draining = True
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._limits.drain_s
        for connection in list(self._state.connections):
            connection.shutdown()
        counter = 0
        while self._state.connections and loop.time() < until and not self.force_exit:
            await asyncio.sleep(_TICK_S)
            counter += 1
            self._look(loop.time())
            if counter % 10 == 0:
                await super().on_tick(0)  # The Date of answers.
        for connection in list(self._state.connections):
            logger.warning("a connection did not end within the drain and is cut off")
            cast(FrontProtocol, connection).transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """TERM and INT begin the drain, INT again ends it. uvicorn would raise the signal again at the end."""
        loop = asyncio.get_running_loop()
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.handle_exit, number, None)
        except (RuntimeError, ValueError):
            logger.debug("not in the main thread: no signal is looked for")
        yield

    def _look(self, now: float) -> None:
        for connection in list(self._state.connections):
            cast(FrontProtocol, connection).look(now)
        watching.connections.set(len(self._state.connections))
        self._front.watch()


def _config(front: Front, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        front,
        http=FrontProtocol,
        loop="auto",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        # The product reads X-Forwarded-For itself, by TRUSTED_PROXIES.
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=cast(int, limits.keep_alive_s),
    )
