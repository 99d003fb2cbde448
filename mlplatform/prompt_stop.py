"""A web process that is told to stop notices it at once.

Python runs signal handlers in the main thread only, and the main thread of a Granian 2.8.7 worker waits without a time
limit. The kernel can hand TERM to another thread, such as one that is just being made; then nobody wakes the main
thread, the worker serves on, and its parent kills it after a time-out with calls in flight (seen in one of ten stops
under load). So Python also writes each signal's number to a pipe, and a thread of ours interrupts the main thread.
"""

import os
import signal
import threading
from types import FrameType
from typing import Final

_STOPS: Final = frozenset({signal.SIGTERM, signal.SIGINT})
_INTERRUPTS: Final = signal.SIGUSR2


def ensure() -> None:
    """Watch for signals from now on; to be called in the main thread, elsewhere it does nothing."""
    if threading.current_thread() is not threading.main_thread():
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(_INTERRUPTS, _nothing)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    main = threading.main_thread().ident
    threading.Thread(target=_hand_over, args=(reader, main), name="prompt-stop", daemon=True).start()


def _hand_over(reader: int, main: int) -> None:
    while numbers := os.read(reader, 64):
        # The interrupting signal is written too; answering it would go on for ever.
        if not _STOPS.isdisjoint(numbers):
            signal.pthread_kill(main, _INTERRUPTS)


def _nothing(number: int, frame: FrameType | None) -> None:
    """Being called is all: before it, Python runs the handlers of the signals that came earlier."""
