"""Which workers are alive, by a heartbeat each keeps in the state Redis, and how much waits for them."""

import json
import os
import socket
from dataclasses import asdict, dataclass
from typing import Final

from mlplatform.lib import clock, redis
from mlplatform.lib.background import Ticker

BEAT_S: Final = 1.0
_LIFETIME_S: Final = 5
_FORGET_S: Final = 3600
_ALIVE: Final = "workers:alive"
QUEUES: Final = ("gpu", "jobs")
_BROKER_PREFIX: Final = "celery:"


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker process as it last said of itself."""

    name: str
    queue: str
    device: str
    models: list[str]
    batches: int
    seen_at: float
    batch_s: float = 0.0
    draining: bool = False

    @property
    def seen_s_ago(self) -> float:
        return max(0.0, clock.now().timestamp() - self.seen_at)


class Heartbeat:
    """Says once a second that this worker lives; when it stops, the word fades within five seconds."""

    def __init__(self, *, queue: str, device: str) -> None:
        self.name = f"{queue}@{socket.gethostname()}:{os.getpid()}"
        self.queue = queue
        self.device = device
        self.models: list[str] = []
        self.batches = 0
        self._ticker = Ticker(f"heartbeat-{queue}", BEAT_S, self.beat)

    def start(self) -> None:
        self.beat()
        self._ticker.ensure_started()

    def beat(self) -> None:
        """One sign of life; a failing Redis is the caller's log line, and the next beat tries again."""
        info = WorkerInfo(self.name, self.queue, self.device, self.models, self.batches, clock.now().timestamp())
        redis.state().hset(_ALIVE, self.name, json.dumps(asdict(info)))

    def end(self) -> None:
        """Leave at once when the process stops in good order."""
        self._ticker.stop()
        redis.state().hdel(_ALIVE, self.name)


def alive() -> list[WorkerInfo]:
    """The workers that gave a sign of life within the last five seconds. Raises what Redis raises."""
    now = clock.now().timestamp()
    found = redis.state().hgetall(_ALIVE)
    infos = {name: _parse(text) for name, text in found.items()}
    faded = [name for name, info in infos.items() if info is None or now - info.seen_at > _FORGET_S]
    if faded:
        redis.state().hdel(_ALIVE, *faded)
    living = (info for info in infos.values() if info is not None and now - info.seen_at <= _LIFETIME_S)
    return sorted(living, key=lambda info: info.name)


def _parse(text: bytes | str) -> WorkerInfo | None:
    try:
        return WorkerInfo(**json.loads(text))
    except (TypeError, ValueError):
        return None  # Another release's worker says other things of itself; it is not in the way of the others.


def count(queue: str) -> int:
    """How many workers of this queue are alive."""
    return sum(1 for info in alive() if info.queue == queue)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a pool can do now: its workers that take batches, the batches that wait in the broker for them, and how long one
    takes (seconds, 0 while unknown)."""

    workers: int
    waiting_batches: int
    batch_s: float


def capacity(pool: str) -> Capacity:
    """What the pool's workers last said of themselves. Raises what Redis raises."""
    taking = [info for info in alive() if info.queue == pool and not info.draining]
    waiting = int(redis.state().llen(f"{_BROKER_PREFIX}{pool}"))
    known = [info.batch_s for info in taking if info.batch_s > 0]
    return Capacity(len(taking), waiting, sum(known) / len(known) if known else 0.0)


def queue_depths() -> dict[str, int]:
    """Messages that wait in the broker, by queue. Raises what Redis raises."""
    pipe = redis.state().pipeline(transaction=False)
    for queue in QUEUES:
        pipe.llen(f"{_BROKER_PREFIX}{queue}")
    return dict(zip(QUEUES, pipe.execute(), strict=True))
