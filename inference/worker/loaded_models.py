"""The model versions that a worker holds in memory, within a budget of bytes; the least recently used makes room.

Versions that are wanted, because they are live or candidates, go last; before them those that stand by, because they were live
a short time ago. What a tenant owns makes room in its own share first (``inference.worker.shares``), and never has a model on
sale dropped that is wanted. Two threads use it: one computes batches and loads
what they need, the other prepares the live versions.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge

from inference.fleet.workers import LoadedModel
from inference.isolation import loading
from inference.models import ModelVersion
from inference.runtimes import memory
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import LoadError, RuntimeSpec
from inference.worker import shares
from inference.worker.shares import NoRoom, Share
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


@dataclass(slots=True, eq=False)
class Loaded:
    """A version in memory, and what it has done since it was loaded."""

    runtime: CheckedRuntime
    size_bytes: int
    used_at: float
    batches: int = 0
    batch_s: float = 0.0
    share: Share | None = None
    """What it takes of what its owner's models may; None of a model on sale."""
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    """Held while the model runs: a runtime may keep its inputs in one place (CUDA graphs), and two threads that ran it
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
    coming: dict[str, tuple[int, Share | None]] = field(default_factory=dict)
    gates: dict[str, threading.Lock] = field(default_factory=dict)
    failed: dict[str, tuple[float, str]] = field(default_factory=dict)

    def total(self, *, only: Container[str] | None = None) -> int:
        """What is held and what is coming take; of what is held, ``only`` these where they are given."""
        held = sum(loaded.size_bytes for key, loaded in self.held.items() if only is None or key in only)
        return held + sum(size for size, _ in self.coming.values())

    def taken(self, owner_id: int, *, only: Container[str] | None = None) -> int:
        """The same for what a tenant's models may take."""
        held = [loaded.share for key, loaded in self.held.items() if only is None or key in only]
        return shares.taken(owner_id, [*held, *(share for _, share in self.coming.values())])


def key_of(version_id: int, digest: str) -> str:
    """Under what a version is held: itself, and the artefact that it has now."""
    return f"{version_id}:{digest}"


class LoadedModels:
    """By :func:`key_of`: versions of one artefact may run it in other precisions, on other devices, with other labels."""

    def __init__(
        self,
        *,
        device: str,
        budget_bytes: int,
        spec_of: Callable[[ModelVersion], RuntimeSpec],
        share_of: Callable[[ModelVersion, RuntimeSpec], Share | None] = shares.share_of,
    ) -> None:
        self.budget_bytes = budget_bytes
        self._device = device
        self._spec_of = spec_of
        self._share_of = share_of
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

        Raises what loading raises: ArtefactError, LoadError, ContractError; NoRoom with ``spare_wanted``, and for what a tenant
        owns. A failure is remembered for ten seconds unless ``again``.
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
                raise  # Nothing is wrong with it: the next call may have it loaded.
            except Exception as error:
                # Its words only: the exception holds on to every frame, and so to the weights that were read so far.
                self._table.failed[key] = (clock.monotonic() + _FORGIVE_S, f"{type(error).__name__}: {error}")
                _loads.labels("failed").inc()
                raise
            finally:
                with self._lock:
                    self._table.coming.pop(key, None)

    def put(self, key: str, runtime: CheckedRuntime, share: Share | None = None) -> Loaded:
        """Hold a model that is loaded already; others make room for what it really takes."""
        loaded = Loaded(runtime, runtime.weights_bytes, clock.now().timestamp(), share=share)
        with self._lock:
            self._table.failed.pop(key, None)
            self._table.coming.pop(key, None)
            self._table.held[key] = loaded
            dropped = self._make_room(0, spared={key} | (self._on_sale() if share is not None else set()))
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
                    reserved_bytes=loaded.share.reserved_bytes if loaded.share is not None else 0,
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
        share = self._share_of(version, spec)
        if share is not None:
            shares.require_fits_alone(share, what=str(version))
        with self._lock:
            spared = self._of_more_need(version) if spare_wanted else frozenset()
            if share is not None:
                spared |= self._on_sale()
            if spared and self._table.total(only=spared) + expected > self.budget_bytes:
                raise NoRoom(f"There is no room for {version} beside the other live versions.")
            dropped = self._make_room_of_owner(share, spared=spared, what=str(version)) if share is not None else []
            dropped += self._make_room(expected, spared=spared)
            self._table.coming[key_of(version.pk, version.sha256)] = (expected, share)
        self._tell(dropped)
        loaded = self.put(key_of(version.pk, version.sha256), loading.load(spec), share)
        _loads.labels("loaded").inc()
        logger.info("%s is loaded: %.1f MB", loaded.reference, loaded.size_bytes / 2**20)
        return loaded

    def _of_more_need(self, version: ModelVersion) -> frozenset[str]:
        """What may not be dropped to prepare this version: what is wanted, and for one that stands by the others that do and
        what is in use. The lock is held."""
        if key_of(version.pk, version.sha256) not in self._standby:
            return self._wanted
        # Otherwise a full memory would be loaded anew all day: a call that pins a version drops what stands by, which would
        # come back at once and drop that version; and a new one would be gone before it can be promoted.
        since = clock.now().timestamp() - _IN_USE_S
        return self._wanted | self._standby | {key for key, held in self._table.held.items() if held.used_at >= since}

    def _on_sale(self) -> frozenset[str]:
        """What is wanted of the models on sale, which all tenants call. The lock is held."""
        return frozenset(key for key, held in self._table.held.items() if held.share is None and key in self._wanted)

    def _make_room_of_owner(self, share: Share, *, spared: Container[str], what: str) -> list[Loaded]:
        """Drop other versions of the owner until its share suffices; OverQuota, and nothing dropped, if it cannot. The lock is
        held."""
        owner_id = share.owner_id
        if self._table.taken(owner_id, only=spared) + share.reserved_bytes > share.most_bytes:
            raise shares.too_many(share, what=what)
        dropped = []
        for key in self._order(spared):
            if self._table.taken(owner_id) + share.reserved_bytes <= share.most_bytes:
                break
            other = self._table.held[key].share
            if other is not None and other.owner_id == owner_id:
                dropped.append(self._table.held.pop(key))
        return dropped

    def _order(self, spared: Container[str]) -> list[str]:
        """In which versions make room: unwanted ones, those that stand by, wanted ones. The lock is held."""
        order = [key for key in self._table.held if key not in spared]
        # Stable: each part stays in the order of its use, the least recently used first.
        return sorted(order, key=lambda key: (key in self._wanted, key in self._standby))

    def _make_room(self, needed: int, *, spared: Container[str]) -> list[Loaded]:
        """Drop versions until it fits. The lock is held."""
        dropped = []
        for key in self._order(spared):
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
