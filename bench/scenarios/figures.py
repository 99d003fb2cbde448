"""What a call costs, against the reference and against the commit before the engine, all in one run.

Every way of calling is measured on every side that has it, round after round, and the order of the sides alternates. Ratios are
of the same round, so that they bear some load of the machine; rates do not.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final

from bench import bare_grpc, client, earlier, echo_client, echo_model, protocol_client, reference_server
from bench.bare_grpc import BareGrpc
from bench.product import Product
from bench.protocol_client import STREAM, UNARY
from bench.reference_server import Reference
from bench.results import Result, Target

NAME: Final = "figures"
EARLIER: Final = "5dbadbe"
"""The last commit whose calls waited in threads: how git finds it, and what its side is called."""
NOW, REFERENCE, BARE = "this commit", "reference", "bare grpcio"
CACHED, UNCACHED = "REST, cached", "REST, echo"
_TEXT: Final = "What a wonderful morning!"
_MOST: Final = 200_000
_seeds = count(50_000)


@dataclass(frozen=True, slots=True)
class Way:
    """One kind of call over so many connections, and the sides that serve it."""

    what: str
    connections: int
    sides: tuple[str, ...] = (NOW, EARLIER, REFERENCE)


# Those of as many connections stand together: an uncached call is compared with the reference's cached one.
WAYS: Final = (
    *(Way(what, connections) for connections in (1, 16, 64) for what in (CACHED, UNCACHED)),
    Way(UNARY, 16, (NOW, EARLIER, BARE)),
    Way(STREAM, 1, (NOW, EARLIER, BARE)),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU microseconds of a call (of a stream: of an item) in the process that serves it, the worker and the state Redis."""

    server_us: float
    worker_us: float
    state_us: float
    per_second: float
    p50_ms: float
    unavailable: int = 0


Round = Mapping[tuple[str, int, str], Sample]
"""By what, connections and side."""


@dataclass(frozen=True, slots=True)
class _Plan:
    rounds: int
    seconds: float
    calls: int
    items: int


_FULL: Final = _Plan(rounds=5, seconds=3.0, calls=2000, items=8192)
_QUICK: Final = _Plan(rounds=1, seconds=1.0, calls=200, items=1024)


@dataclass(frozen=True, slots=True)
class _Load:
    """What a load generator saw, whichever it was."""

    calls: int
    per_second: float
    p50_ms: float
    unavailable: int = 0


def run(product: Product, folder: Path, *, quick: bool = False) -> Result:
    """Start the other sides beside this product, warm every way on each, then alternate."""
    plan = _QUICK if quick else _FULL
    with ExitStack() as stack:
        before = stack.enter_context(earlier.started(folder / "earlier", commit=EARLIER))
        cached = stack.enter_context(reference_server.started(folder / "reference"))
        echo = stack.enter_context(reference_server.started(folder / "reference-echo", app=reference_server.UNCACHED))
        bare = stack.enter_context(bare_grpc.started(folder / "bare-grpc"))
        cached.remember(_TEXT, version="1.0.0", scores={"positive": 0.999, "negative": 0.001})
        for each in (product, before):
            echo_model.install(each.env, root=each.root)
            client.run(_cached_job(each.port, each.headers, 1, requests=1, cached=False))
        references = {CACHED: cached, UNCACHED: echo}
        measures: dict[str, Callable[[Way, _Plan], Sample]] = {
            NOW: lambda way, each: _of_product(product, way, each),
            EARLIER: lambda way, each: _of_product(before, way, each),
            REFERENCE: lambda way, each: _of_reference(references[way.what], way, each),
            BARE: lambda way, each: _of_bare(bare, way, each),
        }
        _round(0, measures, _QUICK)
        rounds = [_round(number, measures, plan) for number in range(plan.rounds)]
    return conclude(rounds)


def _round(number: int, measures: Mapping[str, Callable[[Way, _Plan], Sample]], plan: _Plan) -> Round:
    return {
        (way.what, way.connections, side): measures[side](way, plan)
        for way in WAYS
        for side in (way.sides if number % 2 == 0 else way.sides[::-1])
    }


def _of_product(product: Product, way: Way, plan: _Plan) -> Sample:
    earlier_cpu = product.cpu()
    if way.what in (UNARY, STREAM):
        face, load = "grpc", _grpc(product.grpc_port, product.api_key, way, plan)
    else:
        face, load = "web", _rest(product.port, product.headers, way, plan)
    spent, scale = product.cpu(), 1e6 / load.calls
    return Sample(
        server_us=spent.since(earlier_cpu, face) * scale,
        worker_us=spent.since(earlier_cpu, "gpu-worker") * scale,
        state_us=spent.since(earlier_cpu, "redis-state") * scale,
        per_second=load.per_second,
        p50_ms=load.p50_ms,
        unavailable=load.unavailable,
    )


def _of_reference(reference: Reference, way: Way, plan: _Plan) -> Sample:
    """Its model runs in its process, and its one Redis holds limits and answers."""
    before, redis_before = reference.cpu_s(), reference.redis.cpu_s()
    load = _rest(reference.port, {}, way, plan)
    scale = 1e6 / load.calls
    return Sample(
        server_us=(reference.cpu_s() - before) * scale,
        worker_us=0.0,
        state_us=(reference.redis.cpu_s() - redis_before) * scale,
        per_second=load.per_second,
        p50_ms=load.p50_ms,
        unavailable=load.unavailable,
    )


def _of_bare(bare: BareGrpc, way: Way, plan: _Plan) -> Sample:
    """It has no model, no worker and no Redis: it reads messages, and writes them."""
    before = bare.cpu_s()
    load = _grpc(bare.port, "none", way, plan)
    return Sample((bare.cpu_s() - before) * 1e6 / load.calls, 0.0, 0.0, load.per_second, load.p50_ms)


def _rest(port: int, headers: dict[str, str], way: Way, plan: _Plan) -> _Load:
    if way.what == CACHED:
        outcome = client.run(_cached_job(port, headers, way.connections, requests=_MOST, seconds=plan.seconds))
    else:
        job = echo_client.Job(port, headers, connections=way.connections, seconds=plan.seconds, seed=next(_seeds))
        (outcome,) = echo_client.run_all([job])
    return _Load(outcome.requests, outcome.per_second, outcome.p50_ms, outcome.unavailable)


def _cached_job(
    port: int, headers: dict[str, str], connections: int, *, requests: int, seconds: float = 10.0, cached: bool = True
) -> client.Job:
    return client.Job(
        port=port,
        headers=headers,
        texts=[_TEXT],
        connections=connections,
        requests=requests,
        cached=cached,
        seconds=seconds,
    )


def _grpc(port: int, api_key: str, way: Way, plan: _Plan) -> _Load:
    outcome = protocol_client.run(
        protocol_client.Job(
            protocol=way.what,
            port=port,
            api_key=api_key,
            model=echo_model.NAME,
            items=plan.items if way.what == STREAM else plan.calls,
            connections=way.connections,
            batch=1,
            seed=next(_seeds),
        )
    )
    return _Load(outcome.items, outcome.per_second, outcome.p50_ms)


# --- What is concluded --------------------------------------------------------------------------------------------------

_CACHED: Final = {1: 0.5, 16: 0.25, 64: 0.18}
_UNCACHED: Final = {16: 0.65, 64: 0.35}
_STATE_US: Final = 60.0
_RATE: Final = {CACHED: 3.5, UNCACHED: 3.0}
_UNARY: Final = 0.5
_STREAM_US: Final = 120.0
_STREAM_RATE: Final = 10.0


def conclude(rounds: Sequence[Round]) -> Result:
    """The medians of the rounds against what is to be reached."""
    rows = [
        [
            "call",
            "connections",
            "side",
            "CPU µs: its process",
            "worker",
            "state Redis",
            "calls/s",
            "p50 ms",
        ]
    ]
    for way in WAYS:
        rows += [_row(way, side, [each[way.what, way.connections, side] for each in rounds]) for side in way.sides]
    of_reference = [
        (each, _ratio(rounds, (STREAM, 1, NOW), (UNCACHED, each, REFERENCE), _per_second)) for each in (16, 64)
    ]
    of_cached = [(each, _ratio(rounds, (UNCACHED, each, REFERENCE), (CACHED, each, REFERENCE))) for each in (1, 16, 64)]
    bare_rate = _ratio(rounds, (STREAM, 1, BARE), (UNCACHED, 1, REFERENCE), _per_second)
    bare_unary, bare_item = (
        _ratio(rounds, (what, connections, BARE), (what, connections, NOW))
        for what, connections in ((UNARY, 16), (STREAM, 1))
    )
    unavailable = sum(sample.unavailable for each in rounds for sample in each.values())
    return Result(
        scenario=NAME,
        what=(
            f"Medians of {len(rounds)} alternating rounds. REST goes to `POST /v2/predict`: one text, cached, or distinct inputs "
            f"of `echo`. gRPC calls have such inputs, too; a stream's call is an item. {EARLIER} runs beside this commit with as "
            "many processes. The reference computes `echo` in its own process, in dynamic batches. Bare grpcio echoes and does "
            "nothing else, on the server that gRPC has in the product. Nothing is pinned."
        ),
        table=rows,
        targets=_targets(rounds),
        notes=[
            f"one stream's items/s against more connections of REST singles to the reference: {_said(of_reference)}",
            f"bare grpcio: items/s of one stream are {bare_rate:.1f} × REST singles to the reference, one client each; it takes "
            f"{bare_unary:.2f} × the CPU of this commit for a unary call, {bare_item:.2f} × for an item",
            f"the reference's uncached calls take {_said(of_cached)} of the CPU of its cached ones",
            f"503 answers, of all sides in all rounds: {unavailable}",
        ],
    )


def _row(way: Way, side: str, samples: Sequence[Sample]) -> list[str]:
    def middle(value: Callable[[Sample], float]) -> float:
        return median(value(each) for each in samples)

    return [
        way.what,
        str(way.connections),
        side,
        f"{middle(lambda each: each.server_us):.0f}",
        f"{middle(lambda each: each.worker_us):.0f}",
        f"{middle(lambda each: each.state_us):.0f}",
        f"{middle(lambda each: each.per_second):,.0f}",
        f"{middle(lambda each: each.p50_ms):.2f}",
    ]


_Key = tuple[str, int, str]


def _ratio(
    rounds: Sequence[Round], ours: _Key, theirs: _Key, value: Callable[[Sample], float] = lambda each: each.server_us
) -> float:
    """The median over the rounds of one figure over another of the same round."""
    return median(value(each[ours]) / value(each[theirs]) for each in rounds)


def _per_second(sample: Sample) -> float:
    return sample.per_second


def _said(ratios: Sequence[tuple[int, float]]) -> str:
    return ", ".join(f"{ratio:.2f} × at {connections}" for connections, ratio in ratios)


def _targets(rounds: Sequence[Round]) -> list[Target]:
    targets = []
    for connections, most in _CACHED.items():
        ratio = _ratio(rounds, (CACHED, connections, NOW), (CACHED, connections, REFERENCE))
        claim = f"cached: web CPU ≤ {most:g} × the reference's at {connections} connections"
        targets.append(Target(claim, f"{ratio:.2f} ×", ratio <= most))
    state_us = median(each[CACHED, 16, NOW].state_us for each in rounds)
    claim = f"cached: state Redis ≤ {_STATE_US:g} µs a call at 16 connections"
    targets.append(Target(claim, f"{state_us:.0f} µs", state_us <= _STATE_US))
    for connections, most in _UNCACHED.items():
        ratio = _ratio(rounds, (UNCACHED, connections, NOW), (CACHED, connections, REFERENCE))
        claim = f"uncached: web CPU ≤ {most:g} × the reference's cached call at {connections} connections"
        targets.append(Target(claim, f"{ratio:.2f} ×", ratio <= most))
    for what, least in _RATE.items():
        gain = _ratio(rounds, (what, 64, NOW), (what, 64, EARLIER), _per_second)
        claim = f"{what}: requests/s of one web process at 64 connections ≥ {least:g} × {EARLIER}'s"
        targets.append(Target(claim, f"{gain:.2f} ×", gain >= least))
    unary = _ratio(rounds, (UNARY, 16, NOW), (UNARY, 16, EARLIER))
    claim = f"gRPC unary: CPU ≤ {_UNARY:g} × {EARLIER}'s at 16 connections"
    targets.append(Target(claim, f"{unary:.2f} ×", unary <= _UNARY))
    stream_us = median(each[STREAM, 1, NOW].server_us for each in rounds)
    claim = f"gRPC stream: CPU of an item ≤ {_STREAM_US:g} µs"
    targets.append(Target(claim, f"{stream_us:.0f} µs", stream_us <= _STREAM_US))
    gain = _ratio(rounds, (STREAM, 1, NOW), (UNCACHED, 1, REFERENCE), _per_second)
    claim = (
        f"gRPC stream: items/s ≥ {_STREAM_RATE:g} × REST singles of the reference with the same model, one client each"
    )
    targets.append(Target(claim, f"{gain:.1f} ×", gain >= _STREAM_RATE))
    return targets
