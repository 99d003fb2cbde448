"""The model versions that a worker holds in memory, within a budget of bytes; the least recently used makes room.

Versions that are wanted, because they are live or candidates, go last; before them those that stand by, because they were live
a short time ago. Two threads use it: one computes batches and loads
what they need, the other prepares what the catalogue wants.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge

from inference.isolation import loading
from inference.models import ModelVersion
from inference.runtimes import memory
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import LoadError, RuntimeSpec
from inference.workers import LoadedModel
from mlplatform.lib import clock

logger = logging.getLogger(__name__)

_FORGIVE_S: Final = 10.0
"""So long a version that failed to load fails its batches at once, instead of being read from the disk for each."""
_IN_USE_S: Final = 600.0
"""So long what was called, or tried by a worker to be promoted, is not dropped only to have another version stand by."""
_SMOOTHING: Final = 0.2

_loads = Counter("mlplatform_worker_loads_total", "Model versions that workers loaded, by outcome.", ["outcome"])
_evictions = Counter("mlplatform_worker_evictions_total", "Model versions that made room for others.")
_weights = Gauge("mlplatform_worker_weights_bytes", "Weights that workers hold in memory.", multiprocess_mode="livesum")


class NoRoom(LoadError):
    """A version is not prepared, because what is needed more fills the budget. A call loads it all the same."""


@dataclass(slots=True, eq=False)
class Loaded:
    """A version in memory, and what it has done since it was loaded."""

    runtime: CheckedRuntime
    size_bytes: int
    used_at: float
    batches: int = 0
    batch_s: float = 0.0
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    """Held by whoever runs the model: a runtime may keep its inputs in one place (CUDA graphs), and two threads that ran it
    at once would get each other's answers."""

    @property
    def reference(self) -> str:
        return f"{self.runtime.spec.name}@{self.runtime.spec.version}"

    def note(self, seconds: float) -> None:
        """One more batch, which took so long."""
        self.batches += 1
        self.batch_s = smoothed(self.batch_s, seconds)


def smoothed(before: float, seconds: float) -> float:
    """The running mean of batch times, 0 while there was none."""
    return seconds if not before else (1 - _SMOOTHING) * before + _SMOOTHING * seconds


@dataclass(slots=True)
class _Table:
    """What the lock guards. ``coming`` is room, in bytes, for versions that are being loaded."""

    held: OrderedDict[str, Loaded] = field(default_factory=OrderedDict)
    coming: dict[str, int] = field(default_factory=dict)
    gates: dict[str, threading.Lock] = field(default_factory=dict)
    failed: dict[str, tuple[float, str]] = field(default_factory=dict)

    def total(self, *, only: Container[str] | None = None) -> int:
        """What is held and what is coming take; of what is held, ``only`` these where they are given."""
        held = sum(loaded.size_bytes for key, loaded in self.held.items() if only is None or key in only)
        return held + sum(self.coming.values())


def key_of(version_id: int, digest: str) -> str:
    """Under what a version is held: itself, and the artefact that it has now."""
    return f"{version_id}:{digest}"


class LoadedModels:
    """By :func:`key_of`: versions of one artefact may run it in other precisions, on other devices, with other labels."""

    def __init__(self, *, device: str, budget_bytes: int, spec_of: Callable[[ModelVersion], RuntimeSpec]) -> None:
        self.budget_bytes = budget_bytes
        self._device = device
        self._spec_of = spec_of
        self._lock = threading.Lock()
        self._table = _Table()
        self._wanted: frozenset[str] = frozenset()
        self._standby: frozenset[str] = frozenset()

    def find(self, key: str) -> Loaded | None:
        """The version if it is in memory; it counts as used."""
        with self._lock:
            loaded = self._table.held.get(key)
            if loaded is not None:
                self._table.held.move_to_end(key)
                loaded.used_at = clock.now().timestamp()
            return loaded

    def holds(self, key: str) -> bool:
        """Whether the version is in memory; to ask is no use of it."""
        with self._lock:
            return key in self._table.held

    def get(self, version: ModelVersion, *, again: bool = False, spare_wanted: bool = False) -> Loaded:
        """The version, loaded now if it is not in memory. Others make room; with ``spare_wanted`` only those of less need.

        Raises what loading raises: ArtefactError, LoadError, ContractError, and NoRoom with ``spare_wanted``. A failure is
        remembered for ten seconds unless ``again``.
        """
        key = key_of(version.pk, version.sha256)
        with self._lock:
            gate = self._table.gates.setdefault(key, threading.Lock())
        with gate:
            loaded = self.find(key)
            if loaded is not None:
                return loaded
            until, failure = self._table.failed.get(key, (0.0, ""))
            if failure and not again and clock.monotonic() < until:
                raise LoadError(f"{version} could not be loaded a moment ago: {failure}")
            try:
                return self._load(version, spare_wanted=spare_wanted)
            except NoRoom:
                raise  # Nothing is wrong with it: who calls it next may have it loaded.
            except Exception as error:
                # Its words only: the exception holds on to every frame, and so to the weights that were read so far.
                self._table.failed[key] = (clock.monotonic() + _FORGIVE_S, f"{type(error).__name__}: {error}")
                _loads.labels("failed").inc()
                raise
            finally:
                with self._lock:
                    self._table.coming.pop(key, None)

    def put(self, key: str, runtime: CheckedRuntime) -> Loaded:
        """Hold a model that is loaded already; others make room for what it really takes."""
        loaded = Loaded(runtime, runtime.weights_bytes, clock.now().timestamp())
        with self._lock:
            self._table.failed.pop(key, None)
            self._table.coming.pop(key, None)
            self._table.held[key] = loaded
            dropped = self._make_room(0, spared={key})
        self._tell(dropped)
        return loaded

    def want(self, keys: Collection[str], *, standby: Collection[str] = ()) -> None:
        """Versions that are live or candidates go last when room is needed, and before them those that stand by."""
        self._wanted = frozenset(keys)
        self._standby = frozenset(standby) - self._wanted

    def report(self) -> list[LoadedModel]:
        """What is in memory, by name."""
        with self._lock:
            held = list(self._table.held.items())
        return sorted(
            (
                LoadedModel(
                    reference=loaded.reference,
                    size_bytes=loaded.size_bytes,
                    batches=loaded.batches,
                    batch_s=round(loaded.batch_s, 6),
                    used_at=loaded.used_at,
                    wanted=key in self._wanted,
                )
                for key, loaded in held
            ),
            key=lambda model: model.reference,
        )

    def _load(self, version: ModelVersion, *, spare_wanted: bool) -> Loaded:
        spec = self._spec_of(version)
        expected = stored_bytes(spec.artefact)
        if expected > self.budget_bytes:
            raise LoadError(
                f"{version} takes about {expected / 2**20:,.0f} MB; this worker may hold {self.budget_bytes / 2**20:,.0f} MB "
                "(WORKER_MEMORY_MB)."
            )
        with self._lock:
            spared = self._of_more_need(version) if spare_wanted else frozenset()
            if spare_wanted and self._table.total(only=spared) + expected > self.budget_bytes:
                raise NoRoom(
                    f"There is no room for {version} beside the other live versions; it is loaded when it is called."
                )
            dropped = self._make_room(expected, spared=spared)
            self._table.coming[key_of(version.pk, version.sha256)] = expected
        self._tell(dropped)
        loaded = self.put(key_of(version.pk, version.sha256), loading.load(spec))
        _loads.labels("loaded").inc()
        logger.info("%s is loaded: %.1f MB", loaded.reference, loaded.size_bytes / 2**20)
        return loaded

    def _of_more_need(self, version: ModelVersion) -> frozenset[str]:
        """What may not be dropped to prepare this version: what is wanted, and for one that stands by the others that do and
        what somebody uses. The lock is held."""
        if key_of(version.pk, version.sha256) not in self._standby:
            return self._wanted
        # Otherwise a full memory would be loaded anew all day: a call that pins a version drops what stands by, which would
        # come back at once and drop that version; and a new one would be gone before it can be promoted.
        since = clock.now().timestamp() - _IN_USE_S
        return self._wanted | self._standby | {key for key, held in self._table.held.items() if held.used_at >= since}

    def _make_room(self, needed: int, *, spared: Iterable[str]) -> list[Loaded]:
        """Drop unwanted versions, then those that stand by, then wanted ones, until it fits. The lock is held."""
        kept = set(spared)
        order = [key for key in self._table.held if key not in kept]
        # Stable: each part stays in the order of its use, the least recently used first.
        order.sort(key=lambda key: (key in self._wanted, key in self._standby))
        dropped = []
        for key in order:
            if self._table.total() + needed <= self.budget_bytes:
                break
            dropped.append(self._table.held.pop(key))
        return dropped

    def _tell(self, dropped: list[Loaded]) -> None:
        """Empties the list: as long as anything here refers to a version, its weights are not free."""
        if dropped:
            while dropped:
                _evictions.inc()
                logger.info("%s made room for another model", dropped.pop().reference)
            memory.free_unused(self._device)
        with self._lock:
            _weights.set(sum(loaded.size_bytes for loaded in self._table.held.values()))


def stored_bytes(folder: Path) -> int:
    """What the weights of an artefact take on disk, which is about what they take in memory; 0 for what is not there."""
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors")) if folder.is_dir() else 0
