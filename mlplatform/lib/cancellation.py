"""A call that its caller may take back while it waits."""

import threading


class Cancellation:
    """Set from any thread; one thread, the one that works on the call, waits on ``changed`` and looks what happened."""

    __slots__ = ("_canceled", "changed")

    def __init__(self) -> None:
        self.changed = threading.Event()
        self._canceled = False

    @property
    def canceled(self) -> bool:
        return self._canceled

    def cancel(self) -> None:
        """The call has no waiter any more."""
        self._canceled = True
        self.changed.set()
