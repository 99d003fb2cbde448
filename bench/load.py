"""What the scenarios under load share: how much the product can compute, and what its processes look like meanwhile."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.error import URLError

import redis
from prometheus_client.parser import text_string_to_metric_families

from bench import client, texts
from bench.client import Job
from bench.processes import read
from bench.product import Product

CLIENTS: Final = 48
_QUEUED: Final = "mlplatform_batch_queue_inputs"
_EVERY_S: Final = 0.5


def capacity(product: Product, *, seconds: float, seed: int) -> float:
    """Distinct ``sentiment`` texts a second from 48 clients that each wait for their answer."""
    probe = texts.distinct(256, seed=seed)
    client.run(_job(product, probe[:128], seconds=10))
    speed = client.run(_job(product, probe[128:], seconds=10)).per_second
    return client.run(
        _job(product, texts.distinct(round(2 * speed * seconds), seed=seed + 1), seconds=seconds)
    ).per_second


def _job(product: Product, samples: list[str], *, seconds: float) -> Job:
    return Job(
        port=product.port,
        headers=product.headers,
        texts=samples,
        connections=CLIENTS,
        requests=len(samples),
        cached=False,
        seconds=seconds,
    )


@dataclass(slots=True)
class Watched:
    """The greatest values that were seen: resident bytes of the web process, inputs in its queue, batches in the broker."""

    rss_before: int
    rss: int = 0
    queued_inputs: float = 0.0
    waiting_batches: int = 0
    samples: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def _look(self, product: Product, state: redis.Redis) -> None:
        self.rss = max(self.rss, product.rss_bytes("web"))
        self.waiting_batches = max(self.waiting_batches, int(state.llen("celery:gpu")))
        # A web process under such a load may have no time for its metrics; the next look asks again.
        with contextlib.suppress(URLError, OSError):
            self.queued_inputs = max(self.queued_inputs, _queued(product))
            self.samples += 1

    def _watch(self, product: Product) -> None:
        with contextlib.closing(product.state.client()) as state:
            while not self._stop.wait(_EVERY_S):
                with contextlib.suppress(redis.RedisError):
                    self._look(product, state)


@contextlib.contextmanager
def watching(product: Product) -> Iterator[Watched]:
    """Look at the web process and the queues twice a second."""
    watched = Watched(rss_before=product.rss_bytes("web"))
    thread = threading.Thread(target=watched._watch, args=(product,), name="watching")
    thread.start()
    try:
        yield watched
    finally:
        watched._stop.set()
        thread.join()


def _queued(product: Product) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(read(product.port, "/metrics"))
        if family.name == _QUEUED
        for sample in family.samples
    )


def recovered_after(product: Product, *, since: float, usual_ms: float, give_up_s: float, seed: int) -> float | None:
    """Seconds from ``since`` (unix) until three new texts in a row were answered in at most twice the usual time.

    None when that did not happen within ``give_up_s``.
    """
    samples = iter(texts.distinct(2000, seed=seed))
    in_a_row, first_at = 0, 0.0
    while time.time() < since + give_up_s:
        if not in_a_row:
            first_at = time.time()
        in_a_row = in_a_row + 1 if answer_ms(product, next(samples)) <= 2 * usual_ms else 0
        if in_a_row == 3:
            return max(0.0, first_at - since)
    return None


def answer_ms(product: Product, text: str) -> float:
    """Milliseconds that one new text takes on a connection of its own; infinite when it got no good answer."""
    started = time.perf_counter()
    try:
        with client.Single(product.port, product.headers) as single:
            single.ask(text, cached=False)
    except (ValueError, OSError):
        time.sleep(0.05)
        return float("inf")
    return (time.perf_counter() - started) * 1000
