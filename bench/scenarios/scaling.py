"""1, 2 and 4 web processes before a model that only echoes: whether a request costs the same CPU, and what ends the growth."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import echo_client, echo_model
from bench.client import ClientOutcome
from bench.echo_client import Job
from bench.product import Product, Web
from bench.results import Result, Target

NAME: Final = "scaling"
_PROCESSES: Final = (1, 2, 4)
_CONNECTIONS: Final = 16
_THREADS: Final = 80
_SECONDS: Final = 8.0
_FLAT: Final = 1.15


@dataclass(frozen=True, slots=True)
class _Load:
    """What so many processes did together; CPU microseconds are of one request."""

    processes: int
    connections: int
    per_second: float
    p50_ms: float
    p99_ms: float
    web_us: float
    worker_us: float
    state_us: float
    cache_us: float
    unavailable: int


def run(product: Product, folder: Path, *, quick: bool = False) -> Result:
    """Fresh web processes of the same settings each time, each with a load generator of its own.

    Once each gets 16 connections, so that the load grows with them; once 16 are divided among them, so that it stays.
    """
    echo_model.install(product.env)
    seconds = 3.0 if quick else _SECONDS
    grown = [_measure(product, folder, count, _CONNECTIONS, seconds=seconds) for count in _PROCESSES]
    divided = [_measure(product, folder, count, _CONNECTIONS // count, seconds=seconds) for count in _PROCESSES[1:]]
    return _result(grown, [grown[0], *divided])


def _measure(product: Product, folder: Path, count: int, connections: int, *, seconds: float) -> _Load:
    seed = 10_000 * count + 100 * connections
    with ExitStack() as stack:
        webs = [
            stack.enter_context(product.another_web(threads=_THREADS, log=folder / f"scaling-{count}-{number}.log"))
            for number in range(count)
        ]
        echo_client.run_all(_jobs(product, webs, connections, seconds=1.5, seed=seed + 50))
        before, web_before = product.cpu(), sum(web.cpu_s() for web in webs)
        outcomes = echo_client.run_all(_jobs(product, webs, connections, seconds=seconds, seed=seed))
        after, web_after = product.cpu(), sum(web.cpu_s() for web in webs)
    done = sum(outcome.requests for outcome in outcomes)
    scale = 1e6 / done
    return _Load(
        processes=count,
        connections=connections,
        per_second=done / max(outcome.wall_s for outcome in outcomes),
        p50_ms=_mean([outcome.p50_ms for outcome in outcomes]),
        p99_ms=max(outcome.p99_ms for outcome in outcomes),
        web_us=(web_after - web_before) * scale,
        worker_us=after.since(before, "gpu-worker") * scale,
        state_us=after.since(before, "redis-state") * scale,
        cache_us=after.since(before, "redis-cache") * scale,
        unavailable=_unavailable(outcomes),
    )


def _jobs(product: Product, webs: list[Web], connections: int, *, seconds: float, seed: int) -> list[Job]:
    return [
        Job(
            port=web.port,
            headers=product.headers,
            connections=connections,
            seconds=seconds,
            seed=seed + number,
        )
        for number, web in enumerate(webs)
    ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _unavailable(outcomes: list[ClientOutcome]) -> int:
    return sum(outcome.unavailable for outcome in outcomes)


def _result(grown: list[_Load], divided: list[_Load]) -> Result:
    table = [
        [
            "web processes",
            "connections each",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "CPU µs a request: web",
            "worker",
            "state Redis (broker)",
            "cache Redis",
            "503",
        ]
    ]
    table += [
        [
            str(each.processes),
            str(each.connections),
            f"{each.per_second:.0f}",
            f"{each.p50_ms:.1f}",
            f"{each.p99_ms:.1f}",
            f"{each.web_us:.0f}",
            f"{each.worker_us:.0f}",
            f"{each.state_us:.0f}",
            f"{each.cache_us:.0f}",
            str(each.unavailable),
        ]
        for each in [*grown, *divided[1:]]
    ]
    most = grown[-1]
    ends = {
        "the state Redis with the broker": most.state_us,
        "one worker": most.worker_us,
        "the cache Redis": most.cache_us,
    }
    said = ", ".join(f"{name} at about {1e6 / us:,.0f}" for name, us in ends.items() if us > 0)
    return Result(
        scenario=NAME,
        what=(
            f"Inputs of {echo_model.NUMBERS} numbers, never the same twice, computed by one worker that gives them back; "
            "a load generator for each web process; nothing is pinned."
        ),
        table=table,
        targets=[
            _flat(f"{_CONNECTIONS} connections each", grown),
            _flat(f"{_CONNECTIONS} connections in all", divided),
        ],
        notes=[
            f"by the CPU that each takes for a request, one core of its own would end: {said} requests/s",
            "where web processes, worker, Redis and load generators share few cores, throughput ends when these are busy, and "
            "smaller batches for each process cost the worker and the broker more a request",
        ],
    )


def _flat(what: str, loads: list[_Load]) -> Target:
    growth = loads[-1].web_us / loads[0].web_us
    return Target(
        f"CPU of the web processes for a request at {loads[-1].processes} processes ≤ {_FLAT:g} × that at one, {what}",
        f"{growth:.2f} ×",
        growth <= _FLAT,
    )
