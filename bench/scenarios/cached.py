"""A cached ``POST /v2/predict``: CPU of the server for each request, against the reference, side by side.

One request at a time shows what a request costs; many connections that leave no core idle add what the server's
threads cost each other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench import client
from bench.client import ClientOutcome, Job
from bench.product import Product
from bench.reference_server import Reference
from bench.results import Result, Target

NAME: Final = "cached"
_TEXT: Final = "What a wonderful morning!"
_ROUNDS: Final = 5
_REQUESTS: Final = 2000
_WARM_REQUESTS: Final = 1000
_CONNECTIONS: Final = (1, 16, 64)
_TARGETS: Final = {1: 0.5, 16: 0.25, 64: 0.18}


@dataclass(frozen=True, slots=True)
class _Cost:
    """CPU microseconds for each request, and what the clients saw."""

    server: float
    redis: float
    background: float
    outcome: ClientOutcome


def run(product: Product, reference: Reference) -> Result:
    """Alternate rounds of the same requests against both; which one goes first alternates, too."""
    client.run(_job(product.port, product.headers, requests=1, cached=False))
    reference.remember(_TEXT, version="1.0.0", scores={"positive": 0.999, "negative": 0.001})
    measures: dict[str, Callable[[int], _Cost]] = {
        "product": lambda connections: _of_product(product, connections),
        "reference": lambda connections: _of_reference(reference, connections),
    }
    client.run(_job(product.port, product.headers, requests=_WARM_REQUESTS))
    client.run(_job(reference.port, {}, requests=_WARM_REQUESTS))
    return _result({connections: _rounds(measures, connections) for connections in _CONNECTIONS})


def _rounds(measures: dict[str, Callable[[int], _Cost]], connections: int) -> list[dict[str, _Cost]]:
    rounds = []
    for number in range(_ROUNDS):
        names = list(measures) if number % 2 == 0 else list(measures)[::-1]
        rounds.append({name: measures[name](connections) for name in names})
    return rounds


def _job(
    port: int, headers: dict[str, str], *, requests: int, cached: bool = True, connections: int = _CONNECTIONS[-1]
) -> Job:
    return Job(
        port=port,
        headers=headers,
        texts=[_TEXT],
        connections=connections,
        requests=requests,
        cached=cached,
        seconds=10,
    )


def _of_product(product: Product, connections: int) -> _Cost:
    before = product.cpu()
    outcome = client.run(_job(product.port, product.headers, requests=_REQUESTS, connections=connections))
    after = product.cpu()
    scale = 1e6 / outcome.requests
    return _Cost(
        server=after.since(before, "web") * scale,
        redis=after.since(before, "redis-state", "redis-cache") * scale,
        background=after.since(before, "jobs-worker", "beat", "gpu-worker") * scale,
        outcome=outcome,
    )


def _of_reference(reference: Reference, connections: int) -> _Cost:
    before, redis_before = reference.cpu_s(), reference.redis.cpu_s()
    outcome = client.run(_job(reference.port, {}, requests=_REQUESTS, connections=connections))
    scale = 1e6 / outcome.requests
    return _Cost(
        server=(reference.cpu_s() - before) * scale,
        redis=(reference.redis.cpu_s() - redis_before) * scale,
        background=0.0,
        outcome=outcome,
    )


def _result(measured: dict[int, list[dict[str, _Cost]]]) -> Result:
    table = [
        [
            "connections",
            "round",
            "product µs",
            "reference µs",
            "ratio",
            "Redis µs (p / r)",
            "requests/s (p / r)",
            "p50 ms (p / r)",
        ]
    ]
    targets, notes = [], []
    for connections, rounds in measured.items():
        for number, pair in enumerate(rounds, start=1):
            table.append([str(connections), str(number), *_line(pair["product"], pair["reference"])])
        ratio = median(pair["product"].server / pair["reference"].server for pair in rounds)
        middle = {name: median(pair[name].server for pair in rounds) for name in ("product", "reference")}
        table.append(
            [
                str(connections),
                "median",
                f"{middle['product']:.0f}",
                f"{middle['reference']:.0f}",
                f"{ratio:.3f}",
                "",
                "",
                "",
            ]
        )
        load = "one request at a time" if connections == 1 else f"{connections} connections that leave no core idle"
        most = _TARGETS[connections]
        targets.append(Target(f"product ≤ {most} × reference, {load}", f"{ratio:.3f} (median)", ratio <= most))
        with_redis = median(
            (pair["product"].server + pair["product"].redis) / (pair["reference"].server + pair["reference"].redis)
            for pair in rounds
        )
        notes.append(f"{load}: with the Redis servers' CPU on both sides the median ratio is {with_redis:.3f}")
    every = [pair for rounds in measured.values() for pair in rounds]
    background = median(pair["product"].background for pair in every)
    unavailable = sum(pair[name].outcome.unavailable for pair in every for name in pair)
    notes.append(
        f"the product's workers and beat (metering to SQL, heartbeats) used {background:.0f} µs more a request beside it"
    )
    notes.append(f"503 answers, of both services in all rounds: {unavailable}")
    return Result(
        scenario=NAME,
        what=(
            f"CPU of the server's processes for each cached POST /v2/predict, {_ROUNDS} alternating rounds of "
            f"{_REQUESTS} requests over keep-alive connections; every answer checked."
        ),
        table=table,
        targets=targets,
        notes=notes,
    )


def _line(product: _Cost, reference: _Cost) -> list[str]:
    return [
        f"{product.server:.0f}",
        f"{reference.server:.0f}",
        f"{product.server / reference.server:.3f}",
        f"{product.redis:.0f} / {reference.redis:.0f}",
        f"{product.outcome.per_second:.0f} / {reference.outcome.per_second:.0f}",
        f"{product.outcome.p50_ms:.1f} / {reference.outcome.p50_ms:.1f}",
    ]
