"""What the launcher says to the person at the terminal, and how that person asks it to stop."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType
from typing import TextIO

from mlplatform.run.problems import StopRequestedError

_SLICE_S = 0.1
# make and `timeout` pass TERM on to a process that the process group's TERM has reached already: one request.
_ONE_REQUEST_S = 1.0


class Console:
    """Prints whole lines at once. A closed terminal never stops the launcher from draining."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._began = time.monotonic()

    def say(self, line: str = "") -> None:
        """Print one line as it is."""
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # The reader went away (a closed terminal, `make run | head`); the processes matter more.
            return

    def step(self, line: str) -> None:
        """Print one line of progress with the seconds since the launcher began."""
        self.say(f"{time.monotonic() - self._began:7.1f} s  {line}")


class StopSwitch:
    """Remembers that INT, TERM or HUP arrived. It is a flag and not an exception, so that no signal can fall
    between starting a process and remembering it."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.in_a_hurry = False
        self._first_at = 0.0

    def install(self) -> None:
        """Take over the signals. HUP stays ignored if it is (nohup)."""
        wanted = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            wanted.append(signal.SIGHUP)
        for number in wanted:
            signal.signal(number, self._arrived)

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self.signal is not None

    def wait(self, seconds: float) -> bool:
        """Sleep up to so many seconds, less when a stop is asked for; True when it was."""
        until = time.monotonic() + seconds
        while not self.requested and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE_S))
        return self.requested

    def check(self) -> None:
        """Raise StopRequestedError when a stop was asked for."""
        if self.requested:
            raise StopRequestedError

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._first_at = signal.Signals(number), now
        elif now - self._first_at > _ONE_REQUEST_S:
            self.in_a_hurry = True
