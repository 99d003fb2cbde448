"""A call that its caller may take back while it waits."""

import threading


class Cancellation:
    """Set from any thread; one thread, the one that works on the call, waits on ``changed`` and looks what happened."""

    __slots__ = ("_canceled", "_changed")

    def __init__(self) -> None:
        self._changed: threading.Event | None = None
        self._canceled = False

    @property
    def changed(self) -> threading.Event:
        """Made for the first thread that waits: most calls wait on the event loop, and making it costs as much as a look-up."""
        if self._changed is None:
            self._changed = threading.Event()
            # Whichever comes first, this or the cancellation, the other sees it.
            if self._canceled:
                self._changed.set()
        return self._changed

    @property
    def canceled(self) -> bool:
        return self._canceled

    def cancel(self) -> None:
        """The call has no waiter any more."""
        self._canceled = True
        changed = self._changed
        if changed is not None:
            changed.set()
