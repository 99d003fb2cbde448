"""Redis round trips of one cached request, counted by proxies between a web process and both Redis servers."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench import client, texts
from bench.client import Job
from bench.counting_proxy import CountingProxy, before
from bench.product import Product
from bench.results import Result, Target

NAME: Final = "round-trips"
_TEXTS: Final = 48
_WARM_REQUESTS: Final = 120
_THREADS: Final = 4
_MEANT: Final = 0.9
"""The share of requests that must show exactly the claimed count: the process also speaks to Redis once a second."""


@dataclass(frozen=True, slots=True)
class _Counts:
    """How many requests showed so many round trips (state, cache), and the first commands of all of them."""

    shown: Counter[tuple[int, int]]
    commands: Counter[str]

    def share(self, state: int, cache: int) -> float:
        return self.shown[state, cache] / self.shown.total()

    def said(self) -> str:
        return ", ".join(f"{count} × {state} + {cache}" for (state, cache), count in self.shown.most_common())


def run(product: Product, log: Path) -> Result:
    """Answers come into Redis by the product's own web process; a second one that holds none is asked for them."""
    samples = texts.distinct(_TEXTS, seed=20)
    _ask(product.port, product, samples, cached=False, connections=16)
    with ExitStack() as stack:
        state = stack.enter_context(before(product.state.port))
        cache = stack.enter_context(before(product.cache.port))
        port = stack.enter_context(
            product.second_web(
                threads=_THREADS,
                log=log,
                REDIS_URL=replace(product.state, port=state.port).url,
                CACHE_REDIS_URL=replace(product.cache, port=cache.port).url,
            )
        )
        # Each thread connects to both servers when it first needs them, which is no part of a later request.
        warm = texts.distinct(_WARM_REQUESTS, seed=21)
        _ask(product.port, product, warm, cached=False, connections=16)
        _ask(port, product, warm, cached=True, connections=_THREADS)
        in_redis = _count(port, product, samples, state, cache)
        in_process = _count(port, product, samples, state, cache)
    return _result(in_process, in_redis)


def _ask(port: int, product: Product, samples: list[str], *, cached: bool, connections: int = 1) -> None:
    client.run(
        Job(
            port=port,
            headers=product.headers,
            texts=samples,
            connections=connections,
            requests=len(samples),
            cached=cached,
        )
    )


def _count(port: int, product: Product, samples: list[str], state: CountingProxy, cache: CountingProxy) -> _Counts:
    """Send the texts one by one and look at the counters between them."""
    shown: Counter[tuple[int, int]] = Counter()
    commands = Counter({f"state {name}": -count for name, count in state.commands.items()})
    commands.update({f"cache {name}": -count for name, count in cache.commands.items()})
    with client.Single(port, product.headers) as single:
        for text in samples:
            earlier = state.round_trips, cache.round_trips
            single.ask(text, cached=True)
            shown[state.round_trips - earlier[0], cache.round_trips - earlier[1]] += 1
    commands.update({f"state {name}": count for name, count in state.commands.items()})
    commands.update({f"cache {name}": count for name, count in cache.commands.items()})
    return _Counts(shown, +commands)


def _result(in_process: _Counts, in_redis: _Counts) -> Result:
    rows = [["answer is in", "requests × round trips (state + cache)", "first commands sent"]]
    for where, counts in (("this process", in_process), ("Redis", in_redis)):
        commands = ", ".join(f"{count} {name}" for name, count in counts.commands.most_common())
        rows.append([where, counts.said(), commands])
    return Result(
        scenario=NAME,
        what="Round trips between a web process and its Redis servers, counted by TCP proxies around each single request.",
        table=rows,
        targets=[
            Target(
                "an answer in the process costs 1 round trip to state, none to cache",
                f"{in_process.share(1, 0):.0%} of requests",
                in_process.share(1, 0) >= _MEANT,
            ),
            Target(
                "an answer in Redis costs 2: 1 to state, 1 to cache",
                f"{in_redis.share(1, 1):.0%} of requests",
                in_redis.share(1, 1) >= _MEANT,
            ),
        ],
        notes=[
            "the few other counts are the process's own once-a-second calls (traffic counts) that fell into a request"
        ],
    )
