"""A thread beside the one that computes: it loads the live versions and verifies new versions.

So neither a promotion nor a new version stops the batches; they share the processor with it for as long as loading takes.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final

from django.db import connection

from inference.registry import live as live_versions
from inference.registry import versions
from inference.registry.rollouts import standby
from inference.types import ModelRef
from mlplatform.lib.background import start_watched

logger = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
_PATIENCE_S: Final = 20.0


def wanted(pools: Sequence[str]) -> list[ModelRef]:
    """The versions of these pools that are to be in memory: live ones first, then candidates of canaries and shadows."""
    live = [ref for ref in versions.answering() if ref.live]
    found = {ref.version_id: ref for ref in (*live, *versions.candidates()) if ref.pool in pools}
    return list(found.values())


def standing_by(pools: Sequence[str]) -> list[ModelRef]:
    """The versions of these pools that were live within the last day, and private ones that became so: to be in memory where
    there is room, the latest staged first."""
    recent = standby.recent()
    chosen = [ref for ref in live_versions.current().all() if ref.version_id in recent and ref.pool in pools]
    return sorted(chosen, key=lambda ref: -ref.version_id)


class Preparer:
    """``prepare`` loads what is wanted, ``verify`` judges one version; both belong to the worker and may take seconds."""

    def __init__(self, *, prepare: Callable[[], None], verify: Callable[[int], None]) -> None:
        self._prepare = prepare
        self._verify = verify
        self._line: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._waiting: list[int] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to follow the live versions."""
        self._thread = start_watched(self._run, name="model-preparer")

    def verify_soon(self, version_id: int) -> None:
        """Verify a version when the ones before it are done."""
        self._waiting.append(version_id)
        self._line.put(version_id)

    def close(self) -> list[int]:
        """Finish what is under way and end; gives the versions that were not verified any more."""
        self._stopping.set()
        if self._thread is not None:
            self._line.put(None)
            self._thread.join(_PATIENCE_S)
            self._thread = None
        return list(self._waiting)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                version_id = self._line.get(timeout=_LOOK_S)
            except queue.Empty:
                version_id = None
            if self._stopping.is_set():
                return
            try:
                if version_id is None:
                    self._prepare()
                else:
                    self._verify(version_id)
            except Exception:
                logger.exception("a model could not be prepared; the worker goes on")
            finally:
                if version_id is not None:
                    self._waiting.remove(version_id)
                if not connection.in_atomic_block:
                    connection.close()
