"""Feeds a running worker with batches as a batcher does, and nothing else: ``python -m bench.worker_driver``.

It runs in the product's environment, reads one :class:`Job` from standard input and prints one :class:`WorkerOutcome`.
No web process is in the way, so that a device is kept busy that computes more than Python can parse.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import cycle, islice
from typing import Any, Final

import msgspec

from bench import texts
from bench.processes import ROOT

_PATIENCE_S: Final = 60.0


class Job(msgspec.Struct, frozen=True):
    """Batches of this size of one model version, so many on their way at a time."""

    version_id: int
    digest: str
    input_schema: dict[str, Any]
    pool: str
    batch_size: int
    in_flight: int
    seconds: float
    seed: int


class WorkerOutcome(msgspec.Struct, frozen=True):
    """Inputs that came back, and how long a batch took from being sent to its reply. ``compute_s`` is the worker's own word."""

    inputs: int
    wall_s: float
    p50_ms: float
    p99_ms: float
    compute_s: float

    @property
    def per_second(self) -> float:
        return self.inputs / self.wall_s


def run(job: Job, env: Mapping[str, str]) -> WorkerOutcome:
    """Let a process of its own do it. Raises RuntimeError with its words when a batch failed or no reply came."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.worker_driver"],
        input=msgspec.json.encode(job),
        capture_output=True,
        cwd=ROOT,
        env=dict(env),
        timeout=job.seconds + 2 * _PATIENCE_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The worker was not driven: {done.stderr.decode()[-2000:]}")
    return msgspec.json.decode(done.stdout, type=WorkerOutcome)


def main() -> None:
    """Do the job in the product's environment. Ends with a message when a batch failed."""
    import django

    django.setup()
    outcome = _drive(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


def _drive(job: Job) -> WorkerOutcome:
    """Keep so many batches on their way for the time that was asked for, then wait for the last."""
    import redis
    from django.conf import settings

    from inference.batching.messages import decode_reply
    from mlplatform.lib.ids import hex_id

    reply_to = f"reply:bench:{hex_id()}"
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=_PATIENCE_S + 5)
    batches = _batches(job, reply_to)
    sent_at: dict[str, float] = {}
    taken: list[float] = []
    compute_s = 0.0
    started = time.perf_counter()
    for _ in range(job.in_flight):
        sent_at[next(batches)] = time.perf_counter()
    while sent_at:
        got = client.blpop([reply_to], timeout=int(_PATIENCE_S))
        if got is None:
            raise SystemExit("no reply came")
        body: Any = got[1]
        reply = decode_reply(body)
        if reply.error or len(reply.results) != job.batch_size or None in reply.results:
            raise SystemExit(f"a batch failed: {reply.error} {reply.problems}")
        now = time.perf_counter()
        taken.append(now - sent_at.pop(reply.batch_id))
        compute_s += reply.compute_s
        if now < started + job.seconds:
            sent_at[next(batches)] = now
    ordered = sorted(taken)
    return WorkerOutcome(
        inputs=len(taken) * job.batch_size,
        wall_s=time.perf_counter() - started,
        p50_ms=ordered[len(ordered) // 2] * 1000,
        p99_ms=ordered[len(ordered) * 99 // 100] * 1000,
        compute_s=compute_s,
    )


def _batches(job: Job, reply_to: str) -> Iterator[str]:
    """Send one batch at each step and give its id."""
    from celery import current_app

    from inference.batching.messages import BatchMessage, ItemMessage, encode_batch
    from inference.batching.transport import TASK
    from inference.inputs import canonical
    from mlplatform.lib.ids import hex_id

    samples = texts.distinct(4096, seed=job.seed)
    payloads = cycle([canonical.encode(job.input_schema, text, field="input") for text in samples])
    while True:
        message = BatchMessage(
            batch_id=hex_id(),
            version_id=job.version_id,
            digest=job.digest,
            reply_to=reply_to,
            deadline=time.time() + _PATIENCE_S,
            cache_ttl_s=0,
            items=[
                ItemMessage(payload=payload, cache_key=b"", hold_id="", tenant_id=0, shard=0)
                for payload in islice(payloads, job.batch_size)
            ],
        )
        current_app.send_task(
            TASK, args=[encode_batch(message)], queue=job.pool, task_id=message.batch_id, ignore_result=True
        )
        yield message.batch_id


if __name__ == "__main__":
    main()
