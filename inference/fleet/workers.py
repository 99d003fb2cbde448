"""Which workers are alive and what they say of themselves, in the state Redis; how much waits for them; which are drained."""

import json
import os
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from inference.fleet import broker
from inference.fleet.broker import list_name
from inference.types import DEFAULT_POOL
from mlplatform.lib import clock, redis
from mlplatform.lib.background import Ticker

BEAT_S: Final = 1.0
LIFETIME_S: Final = 5
_FORGET_S: Final = 3600
ALIVE: Final = "workers:alive"
_DRAINED: Final = "workers:drained"
JOBS: Final = "jobs"
QUEUES: Final = (DEFAULT_POOL, JOBS)
_PRIORITIES: Final = (0, 3, 6, 9)  # the lists in which kombu keeps them
_SMOOTHING: Final = 0.2


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model version in a worker's memory. ``batch_s`` is the model's own time for a batch, 0 before the first;
    ``used_at`` is unix seconds; ``wanted`` if it is live or a candidate, and so is dropped last. ``reserved_bytes`` is all
    that the process of a tenant's model may take, 0 of a model on sale."""

    reference: str
    size_bytes: int = 0
    batches: int = 0
    batch_s: float = 0.0
    used_at: float = 0.0
    wanted: bool = False
    reserved_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker process as it last said of itself. ``queue`` is the first of its ``pools``, or ``jobs``; it computes
    ``concurrency`` batches at once."""

    name: str
    queue: str
    device: str
    models: list[str]
    batches: int
    seen_at: float
    batch_s: float = 0.0
    draining: bool = False
    pools: list[str] = field(default_factory=list)
    loaded: list[LoadedModel] = field(default_factory=list)
    memory_limit_bytes: int = 0
    started_at: float = 0.0
    pid: int = 0
    concurrency: int = 1

    @property
    def seen_s_ago(self) -> float:
        return max(0.0, clock.now().timestamp() - self.seen_at)

    @property
    def memory_bytes(self) -> int:
        """What the weights of its models take."""
        return sum(model.size_bytes for model in self.loaded)

    @property
    def computes(self) -> bool:
        """Whether it computes predictions, and not jobs."""
        return self.queue != JOBS

    def serves(self, pool: str) -> bool:
        """Whether it takes batches, or jobs, of this queue, unless it is drained."""
        return pool in (self.pools or [self.queue])


class Heartbeat:
    """Says once a second that this worker lives; when it stops, the word fades within five seconds."""

    def __init__(self, *, queue: str, device: str, pools: Sequence[str] = (), name: str = "") -> None:
        self.name = name or f"{queue}@{socket.gethostname()}:{os.getpid()}"
        self.queue = queue
        self.device = device
        self.pools = list(pools or [queue])
        self.batches = 0
        self.batch_s = 0.0
        self.loaded: Callable[[], list[LoadedModel]] = list
        self.memory_limit_bytes = 0
        self.concurrency = 1
        self.drained = False
        """Whether staff want it to take no new batch, as the last beat found."""
        self._started_at = clock.now().timestamp()
        self._ticker = Ticker(f"heartbeat-{queue}", BEAT_S, self.beat)

    def start(self) -> None:
        self.beat()
        self._ticker.ensure_started()

    def note(self, seconds: float) -> None:
        """One more batch, which took so long."""
        self.batches += 1
        self.batch_s = seconds if not self.batch_s else (1 - _SMOOTHING) * self.batch_s + _SMOOTHING * seconds

    def beat(self) -> None:
        """One sign of life; a failing Redis is the caller's log line, and the next beat tries again."""
        loaded = self.loaded()
        pipe = redis.state().pipeline(transaction=False)
        pipe.hexists(_DRAINED, self.name)
        pipe.hset(ALIVE, self.name, json.dumps(asdict(self._info(loaded))))
        self.drained = bool(pipe.execute()[0])

    def _info(self, loaded: list[LoadedModel]) -> WorkerInfo:
        return WorkerInfo(
            name=self.name,
            queue=self.queue,
            device=self.device,
            models=[model.reference for model in loaded],
            batches=self.batches,
            seen_at=clock.now().timestamp(),
            batch_s=round(self.batch_s, 6),
            draining=self.drained,
            pools=self.pools,
            loaded=loaded,
            memory_limit_bytes=self.memory_limit_bytes,
            started_at=self._started_at,
            pid=os.getpid(),
            concurrency=self.concurrency,
        )

    def end(self) -> None:
        """Leave at once when the process stops in good order."""
        self._ticker.stop()
        redis.state().hdel(ALIVE, self.name)


def alive() -> list[WorkerInfo]:
    """The workers that gave a sign of life within the last five seconds. Raises what Redis raises."""
    now = clock.now().timestamp()
    found = redis.state().hgetall(ALIVE)
    infos = {name: _parse(text) for name, text in found.items()}
    faded = [name for name, info in infos.items() if info is None or now - info.seen_at > _FORGET_S]
    if faded:
        redis.state().hdel(ALIVE, *faded)
    living = (info for info in infos.values() if info is not None and now - info.seen_at <= LIFETIME_S)
    return sorted(living, key=lambda info: info.name)


def accepting(pool: str) -> list[WorkerInfo]:
    """The living workers of a pool that take batches, and that were not just ordered to drain. Raises what Redis raises."""
    ordered = {redis.as_bytes(name).decode() for name in redis.state().hkeys(_DRAINED)}
    return [info for info in alive() if info.serves(pool) and not info.draining and info.name not in ordered]


def _parse(text: bytes | str) -> WorkerInfo | None:
    try:
        said = json.loads(text)
        return WorkerInfo(**{**said, "loaded": [LoadedModel(**model) for model in said.get("loaded", ())]})
    except (AttributeError, TypeError, ValueError):
        return None  # Another release's worker says other things of itself; it is not in the way of the others.


def count(queue: str) -> int:
    """How many workers of this queue are alive."""
    return sum(1 for info in alive() if info.serves(queue))


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a pool can do now: how many batches its workers compute at once, the batches in the broker that a call waits for,
    and how long one takes (seconds, 0 while unknown)."""

    workers: int
    waiting_batches: int
    batch_s: float


def capacity(pool: str) -> Capacity:
    """What the pool's workers last said of themselves. Raises what Redis raises."""
    accepting = [info for info in alive() if info.serves(pool) and not info.draining]
    (waiting,) = broker.waiting([list_name(pool)])
    known = [info.batch_s for info in accepting if info.batch_s > 0]
    return Capacity(sum(info.concurrency for info in accepting), waiting, sum(known) / len(known) if known else 0.0)


def queue_depths(queues: Collection[str] = QUEUES) -> dict[str, int]:
    """Messages that wait in the broker, of all priorities, by queue. Raises what Redis raises."""
    names = list(queues)
    found = broker.waiting([list_name(queue, priority) for queue in names for priority in _PRIORITIES])
    return {
        queue: sum(found[place * len(_PRIORITIES) : (place + 1) * len(_PRIORITIES)])
        for place, queue in enumerate(names)
    }


@dataclass(frozen=True, slots=True)
class DrainOrder:
    """Who wants a worker to take no new batch, and since when (unix seconds)."""

    worker: str
    by: str
    at: float


def drain(*, worker: str, by: str) -> None:
    """Have a worker finish what it has and take no new batch, until :func:`undrain`, also after a restart.

    It heeds the order at its next beat, within about a second. Raises what Redis raises.
    """
    order: dict[str, Any] = {"by": by, "at": clock.now().timestamp()}
    redis.state().hset(_DRAINED, worker, json.dumps(order))


def undrain(*, worker: str) -> bool:
    """Let a worker take batches again; False if it was not drained. Raises what Redis raises."""
    return bool(redis.state().hdel(_DRAINED, worker))


def drain_orders() -> list[DrainOrder]:
    """Every order that stands, also of workers that are not alive. Raises what Redis raises."""
    found = redis.state().hgetall(_DRAINED)
    orders = []
    for name, text in found.items():
        said = json.loads(text)
        orders.append(DrainOrder(redis.as_bytes(name).decode(), str(said["by"]), float(said["at"])))
    return sorted(orders, key=lambda order: order.worker)
