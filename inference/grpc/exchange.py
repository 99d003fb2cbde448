"""One gRPC call between the event loop, which alone talks with its client, and the code that answers it, which may be a thread.

What that code says beside the message is kept here, and sent by the loop: initial metadata ahead of the answer, a status at the
end. Everything that is asked of the call is read at its beginning, for grpcio's context must not be touched by threads.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import grpc

from mlplatform.lib import clock

Metadata = Sequence[tuple[str, str | bytes]]

CLOSE_S: Final = 0.05
"""A client whose deadline passes takes its call back a moment before the deadline passes here."""


class Aborted(Exception):
    """The call is over, and its exchange knows with which status."""


class Exchange:
    """The call. ``cancel`` and what is a coroutine belong to the loop's thread; the rest to the code that answers."""

    __slots__ = (
        "_callbacks",
        "_canceled",
        "_code",
        "_context",
        "_deadline",
        "_details",
        "_initial",
        "_metadata",
        "_peer",
        "_sent",
        "_trailing",
    )

    def __init__(self, context: Any) -> None:
        self._context = context
        self._metadata: Metadata = context.invocation_metadata() or ()
        self._peer: str = context.peer()
        left = context.time_remaining()
        self._deadline = None if left is None else clock.monotonic() + left
        self._callbacks: list[Callable[[], None]] = []
        self._canceled = self._sent = False
        self._initial: Metadata = ()
        self._trailing: Metadata = ()
        self._code: grpc.StatusCode | None = None
        self._details = ""

    # --- What the client says ----------------------------------------------------------------------------------------

    def invocation_metadata(self) -> Metadata:
        """The client's metadata, in order."""
        return self._metadata

    def peer(self) -> str:
        """Where it calls from, as grpcio writes it."""
        return self._peer

    def time_remaining(self) -> float | None:
        """Seconds until its deadline; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - clock.monotonic())

    def is_active(self) -> bool:
        """Whether it still waits."""
        return not self._canceled

    @property
    def has_run_out(self) -> bool:
        """Whether its deadline has passed, or is so near that this is why it waits no longer."""
        return self._deadline is not None and self._deadline - clock.monotonic() <= CLOSE_S

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have ``callback`` called when the client takes the call back; false when it has."""
        self._callbacks.append(callback)
        return not self._canceled

    def cancel(self) -> None:
        """The client waits no longer."""
        self._canceled = True
        for callback in self._callbacks:
            callback()

    async def read(self) -> bytes | None:
        """The next message of a stream; None after the last one."""
        data = await self._context.read()
        return data if isinstance(data, bytes) else None  # grpcio has a mark for the end

    # --- What it is told ---------------------------------------------------------------------------------------------

    def send_initial_metadata(self, metadata: Metadata) -> None:
        """Goes out ahead of the answer."""
        self._initial = metadata

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """Goes out at the end."""
        self._trailing = metadata

    def trailing_metadata(self) -> Metadata:
        """What :meth:`set_trailing_metadata` was given."""
        return self._trailing

    def code(self) -> grpc.StatusCode | None:
        """With what the call was aborted."""
        return self._code

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call with this status."""
        self._code, self._details = code, details
        raise Aborted

    def break_off(self) -> None:
        """End the call after a bug that nothing made a status of."""
        self._code, self._details = grpc.StatusCode.INTERNAL, "Something went wrong here; please try again."

    async def write(self, data: bytes) -> None:
        """One answer of a stream."""
        await self._context.write(data)

    async def begin(self) -> None:
        """Send the initial metadata now."""
        if self._initial and not self._sent:
            self._sent = True
            await self._context.send_initial_metadata(self._initial)

    async def end(self) -> None:
        """Send what is kept, but for a good answer itself. Raises grpcio's own exception after an abort."""
        await self.begin()
        if self._trailing:
            self._context.set_trailing_metadata(tuple(self._trailing))
        if self._code is not None:
            await self._context.abort(self._code, self._details)
