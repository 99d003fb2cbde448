"""The worker's side of the forker: it starts with the first tenant's model, and is started again when it is gone."""

import logging
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

_ROOT: Final = Path(__file__).resolve().parents[2]
_MODULE: Final = "inference.isolation.forker"
_PATIENCE_S: Final = 60.0
"""How long a fork may take: the first one waits for the libraries to be imported."""
_ANSWER_BYTES: Final = 32


class NoProcess(Exception):
    """No process for a model could be started. Nothing is wrong with the model."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process that waits for orders on ``channel``."""

    pid: int
    channel: socket.socket
    forker: "Forker"

    def end(self) -> int:
        """End it now, whatever it does; gives the signal that it ended of, 0 for none or where that is not known."""
        self.channel.close()
        return self.forker.end(self.pid)


class Forker:
    """One for each worker process. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """The process that forks, if it was started."""
        return self._process.pid if self._process is not None else None

    def fork(self) -> Child:
        """A new child. Raises NoProcess where none can be had."""
        ours, theirs = socket.socketpair()
        try:
            with self._lock, theirs:
                pid = int(self._ask(b"fork", [theirs.fileno()]))
        except (OSError, ValueError, EOFError) as error:
            ours.close()
            self.stop()
            raise NoProcess(f"No process for the model could be started: {error}") from error
        return Child(pid, ours, self)

    def end(self, pid: int) -> int:
        """End a child; 0 where the forker is gone, for its children are then, too."""
        try:
            with self._lock:
                if self._control is None:
                    return 0
                status = int(self._ask(b"end %d" % pid, []))
        except (OSError, ValueError, EOFError):
            self.stop()
            return 0
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0

    def stop(self) -> None:
        """End the forker, and with it every child."""
        with self._lock:
            if self._control is not None:
                self._control.close()
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            self._control = self._process = None

    def _ask(self, message: bytes, handles: list[int]) -> bytes:
        control = self._control or self._start()
        socket.send_fds(control, [message], handles)
        answer = control.recv(_ANSWER_BYTES)
        if not answer:
            raise EOFError("the process that forks is gone")
        return answer

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(_PATIENCE_S)
        with theirs:
            # -E and -s: neither variables nor a user's packages decide what runs. -m takes the product from its root.
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and this product, nothing of a model
                [sys.executable, "-E", "-s", "-B", "-m", _MODULE, str(theirs.fileno())],
                cwd=_ROOT,
                env={
                    "PATH": os.defpath,
                    "LANG": "C.UTF-8",
                    "OMP_NUM_THREADS": "1",
                    "RAYON_NUM_THREADS": "1",
                    "TOKENIZERS_PARALLELISM": "false",
                },
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._control = ours
        logger.info("the process that forks for tenants' models has started: %d", self._process.pid)
        return ours


forker: Final = Forker()
