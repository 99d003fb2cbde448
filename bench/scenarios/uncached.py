"""Distinct ``sentiment`` texts from 64 clients: throughput against the bare model in a loop."""

from dataclasses import dataclass
from statistics import median
from typing import Final

from bench import bare_model, client, texts
from bench.bare_model import BareModel, Loop, Ran
from bench.client import Job, Outcome
from bench.product import Product
from bench.results import Result, Target

NAME: Final = "uncached"
_CLIENTS: Final = 64
_ROUNDS: Final = 5
_ROUND_S: Final = 8.0
_PROBE: Final = 128
_MAX_BATCH: Final = 32
_TARGET: Final = 0.9
_TOLERANCE: Final = 5e-4
"""Of a score: packing a text with other neighbours changes its last bits, and answers are rounded to six digits."""


@dataclass(frozen=True, slots=True)
class _Round:
    """The same texts by the product and by the bare model; ``batch`` is the mean size that the product formed."""

    product: Outcome
    bare: Ran
    batch: float
    web_us: float
    worker_us: float
    redis_us: float

    @property
    def bare_per_second(self) -> float:
        return len(self.bare.scores) / self.bare.wall_s

    @property
    def ratio(self) -> float:
        return self.product.per_second / self.bare_per_second


def run(product: Product) -> Result:
    """Alternate rounds; each has texts of its own, so that nothing is cached."""
    with bare_model.loaded(product.env) as bare:
        probe = texts.distinct(_PROBE, seed=100)
        bare.run(Loop(probe, _MAX_BATCH))
        speed = _PROBE / bare.run(Loop(probe, _MAX_BATCH)).wall_s
        count = max(4 * _CLIENTS, min(20_000, round(speed * _ROUND_S / _CLIENTS) * _CLIENTS))
        client.run(_job(product, texts.distinct(4 * _CLIENTS, seed=101)))
        rounds = [_round(product, bare, texts.distinct(count, seed=102 + number)) for number in range(_ROUNDS)]
    return _result(rounds)


def _job(product: Product, samples: list[str]) -> Job:
    return Job(
        port=product.port,
        headers=product.headers,
        texts=samples,
        connections=_CLIENTS,
        requests=len(samples),
        cached=False,
        scores=True,
    )


def _round(product: Product, bare: BareModel, samples: list[str]) -> _Round:
    cpu_before, batches_before = product.cpu(), product.batches()
    outcome = client.run(_job(product, samples))
    cpu, batches = product.cpu(), product.batches()
    sent, inputs = (after - earlier for earlier, after in zip(batches_before, batches, strict=True))
    if inputs < outcome.requests:
        raise RuntimeError(
            f"The product answered {outcome.requests} distinct texts but sent {inputs:.0f} to its worker."
        )
    batch = inputs / sent
    ran = bare.run(Loop(samples, min(_MAX_BATCH, max(1, round(batch)))))
    both = zip(outcome.scores, ran.scores, strict=True)
    apart = max(abs(ours - theirs) for ours, theirs in both if ours != client.UNKNOWN)
    if apart > _TOLERANCE:
        raise RuntimeError(f"An answer of the product differs by {apart:.6f} from the bare model's.")
    scale = 1e6 / len(samples)
    return _Round(
        product=outcome,
        bare=ran,
        batch=batch,
        web_us=cpu.since(cpu_before, "web") * scale,
        worker_us=cpu.since(cpu_before, "gpu-worker") * scale,
        redis_us=cpu.since(cpu_before, "redis-state", "redis-cache") * scale,
    )


def _result(rounds: list[_Round]) -> Result:
    head = [
        "round",
        "product/s",
        "bare/s",
        "ratio",
        "mean batch",
        "p50 ms",
        "p99 ms",
        "CPU µs an input: web, worker, Redis, bare",
    ]
    table = [head]
    for number, each in enumerate(rounds, start=1):
        bare_us = each.bare.cpu_s * 1e6 / len(each.bare.scores)
        table.append(
            [
                str(number),
                f"{each.product.per_second:.1f}",
                f"{each.bare_per_second:.1f}",
                f"{each.ratio:.3f}",
                f"{each.batch:.1f}",
                f"{each.product.p50_ms:.0f}",
                f"{each.product.p99_ms:.0f}",
                f"{each.web_us:.0f}, {each.worker_us:.0f}, {each.redis_us:.0f}, {bare_us:.0f}",
            ]
        )
    ratio = median(each.ratio for each in rounds)
    bare = rounds[0].bare
    return Result(
        scenario=NAME,
        what=(
            f"{_CLIENTS} clients, {rounds[0].product.requests} distinct texts a round, against the same artefact in a loop "
            f"over the same texts in batches of the mean size that the product formed; torch threads: {bare.threads}, on "
            f"{bare.device}, both."
        ),
        table=table,
        targets=[Target(f"product ≥ {_TARGET:.0%} of the bare model", f"{ratio:.1%} (median)", ratio >= _TARGET)],
        notes=[
            f"every answer was compared with the bare model's score, to within {_TOLERANCE:g}",
            f"503 answers in all rounds: {sum(each.product.unavailable for each in rounds)}",
        ],
    )
