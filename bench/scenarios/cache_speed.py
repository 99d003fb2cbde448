"""A cached answer of ``sentiment`` against a computed one: what one client waits for each."""

from statistics import median
from typing import Final

from bench import client, cores, texts
from bench.client import Job
from bench.product import Product
from bench.results import Result, Target

NAME: Final = "cache-speed"
_ROUNDS: Final = 5
_TEXTS: Final = 150
_TARGET: Final = 1 / 20


def run(product: Product, *, quick: bool = False) -> Result:
    """Rounds of new texts; each is asked for once to be computed and once more to come from the cache."""
    count = 40 if quick else _TEXTS
    rounds = []
    with cores.pinned(product.pids, worker="gpu-worker", web="web") as split:
        _ask(product, texts.distinct(20, seed=300), cached=False)
        for number in range(1 if quick else _ROUNDS):
            samples = texts.distinct(count, seed=301 + number)
            computed = _ask(product, samples, cached=False)
            rounds.append((computed, _ask(product, samples, cached=True)))
    table = [["round", "computed p50 ms", "cached p50 ms", "ratio"]]
    ratios = []
    for number, (computed, cached) in enumerate(rounds, start=1):
        ratios.append(median(cached) / median(computed))
        table.append([str(number), f"{median(computed):.2f}", f"{median(cached):.3f}", f"1/{1 / ratios[-1]:.1f}"])
    ratio = median(ratios)
    return Result(
        scenario=NAME,
        what=f"One client, {count} texts a round, from sending to answer; {split.said()}.",
        table=table,
        targets=[Target("a cached answer in ≤ 1/20 of a computed one's time", f"1/{1 / ratio:.1f}", ratio <= _TARGET)],
        notes=["the entries were in the process that answers: a look into Redis costs one round trip more"],
    )


def _ask(product: Product, samples: list[str], *, cached: bool) -> list[float]:
    """Milliseconds of each text that was answered."""
    job = Job(
        port=product.port,
        headers=product.headers,
        texts=samples,
        connections=1,
        requests=len(samples),
        cached=cached,
        latencies=True,
    )
    return [each for each in client.run(job).latencies_ms if each != client.UNKNOWN]
