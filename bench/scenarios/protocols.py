"""REST against gRPC, single, in batches and as a stream: latency, items a second, CPU and bytes for each item.

Every input is new and is computed by the worker, with models that cost next to nothing, so that the ways differ and not the
models. Rounds alternate between the protocols; bytes are counted by a proxy in a run of their own.
"""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from statistics import median
from typing import Final

from bench import protocol_client
from bench.counting_proxy import before
from bench.number_models import SHAPES
from bench.processes import ROOT
from bench.product import Product
from bench.protocol_client import BATCH, REST, REST_BATCH, STREAM, UNARY, Job, ProtocolOutcome
from bench.results import Result, Target

NAME: Final = "protocols"
_ROUNDS: Final = 3
_BATCH: Final = 64
_COUNTED: Final = 256
_FACES: Final = {REST: "web", REST_BATCH: "web", UNARY: "grpc", BATCH: "grpc", STREAM: "grpc"}
_RATE: Final = 10.0
_CPU: Final = 1 / 2.7
_BYTES: Final = 1 / 5

# Protocol, connections, and how many items make a round of a few seconds.
_WAYS: Final = (
    (REST, 1, 500),
    (REST, 16, 1500),
    (REST_BATCH, 1, 4096),
    (UNARY, 1, 500),
    (UNARY, 16, 1500),
    (BATCH, 1, 4096),
    (STREAM, 1, 8192),
)
_seeds = count(1000)


@dataclass(frozen=True, slots=True)
class _Round:
    """CPU microseconds for each item: of the process that serves the protocol, and of everything on the server's side."""

    outcome: ProtocolOutcome
    face_us: float
    server_us: float


@dataclass(frozen=True, slots=True)
class _Way:
    """The medians of a protocol's rounds; bytes on the wire for each item, both directions, headers included."""

    per_second: float
    p50_ms: float
    p99_ms: float
    face_us: float
    server_us: float
    client_us: float
    wire_bytes: float


_Measured = Mapping[tuple[str, str, int], _Way]


def run(product: Product) -> Result:
    """Install the models, warm every way, then alternate."""
    _install(product)
    for protocol, connections, _ in _WAYS:
        for model in SHAPES:
            _measure(product, protocol, model, connections, items=_BATCH * 2)
    measured: dict[tuple[str, str, int], _Way] = {}
    for model in SHAPES:
        rounds: dict[tuple[str, int], list[_Round]] = {(way, connections): [] for way, connections, _ in _WAYS}
        for number in range(_ROUNDS):
            for protocol, connections, items in _WAYS if number % 2 == 0 else _WAYS[::-1]:
                rounds[protocol, connections].append(_measure(product, protocol, model, connections, items=items))
        for (protocol, connections), found in rounds.items():
            measured[protocol, model, connections] = _median(found, _wire_bytes(product, protocol, model))
    return _result(measured)


def _install(product: Product) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.number_models"],
        cwd=ROOT,
        env=dict(product.env),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The models could not be installed: {done.stderr[-2000:]}")


def _job(product: Product, protocol: str, model: str, connections: int, *, items: int, port: int = 0) -> Job:
    return Job(
        protocol=protocol,
        port=port or _port(product, protocol),
        api_key=product.api_key,
        model=model,
        items=items,
        connections=connections,
        batch=_BATCH,
        seed=next(_seeds),
    )


def _port(product: Product, protocol: str) -> int:
    return product.port if _FACES[protocol] == "web" else product.grpc_port


def _measure(product: Product, protocol: str, model: str, connections: int, *, items: int) -> _Round:
    earlier = product.cpu()
    outcome = protocol_client.run(_job(product, protocol, model, connections, items=items))
    spent = product.cpu()
    face, scale = _FACES[protocol], 1e6 / items
    return _Round(
        outcome=outcome,
        face_us=spent.since(earlier, face) * scale,
        server_us=spent.since(earlier, face, "gpu-worker", "redis-state", "redis-cache") * scale,
    )


def _wire_bytes(product: Product, protocol: str, model: str) -> float:
    with before(_port(product, protocol)) as proxy:
        protocol_client.run(_job(product, protocol, model, 1, items=_COUNTED, port=proxy.port))
        return (proxy.bytes_sent + proxy.bytes_received) / _COUNTED


def _median(rounds: list[_Round], wire_bytes: float) -> _Way:
    return _Way(
        per_second=median(each.outcome.per_second for each in rounds),
        p50_ms=median(each.outcome.p50_ms for each in rounds),
        p99_ms=median(each.outcome.p99_ms for each in rounds),
        face_us=median(each.face_us for each in rounds),
        server_us=median(each.server_us for each in rounds),
        client_us=median(each.outcome.client_cpu_s * 1e6 / each.outcome.items for each in rounds),
        wire_bytes=wire_bytes,
    )


def _result(measured: _Measured) -> Result:
    table = [
        [
            "numbers",
            "protocol",
            "connections",
            "items/s",
            "p50 ms",
            "p99 ms",
            "CPU µs an item: face / all servers / client",
            "bytes an item",
        ]
    ]
    for (protocol, model, connections), way in measured.items():
        height, width = SHAPES[model]
        table.append(
            [
                str(height * width),
                protocol,
                str(connections),
                f"{way.per_second:,.0f}",
                f"{way.p50_ms:.2f}",
                f"{way.p99_ms:.2f}",
                f"{way.face_us:.0f} / {way.server_us:.0f} / {way.client_us:.0f}",
                f"{way.wire_bytes:,.0f}",
            ]
        )
    return Result(
        scenario=NAME,
        what=(
            f"Distinct inputs, computed by the worker; medians of {_ROUNDS} alternating rounds; batches of {_BATCH}. The face is "
            "the web or the gRPC process; all servers are it, the worker and both Redis servers."
        ),
        table=table,
        targets=[target for model in SHAPES for target in _targets(measured, model)],
        notes=[
            "REST bodies are made beforehand with Python's json.dumps and sent over raw sockets; gRPC goes through the "
            "generated client with `features_raw`",
            "a stream's p50 is an item's time from being sent to its answer, waiting behind its predecessors included",
            *[_note(measured, model) for model in SHAPES],
        ],
    )


def _targets(measured: _Measured, model: str) -> list[Target]:
    numbers = SHAPES[model][0] * SHAPES[model][1]
    rest, unary, stream = (measured[way, model, 1] for way in (REST, UNARY, STREAM))
    rate = stream.per_second / rest.per_second
    cpu = stream.server_us / rest.server_us
    targets = [
        Target(
            f"{numbers} numbers: stream ≥ {_RATE:g} × the items/s of REST single calls", f"{rate:.1f} ×", rate >= _RATE
        ),
        Target(
            f"{numbers} numbers: stream ≤ 1/2.7 of the CPU per item of REST single calls",
            f"1/{1 / cpu:.1f}",
            cpu <= _CPU,
        ),
        Target(
            f"{numbers} numbers: unary's latency no worse than REST's",
            f"{unary.p50_ms:.2f} against {rest.p50_ms:.2f} ms at the median",
            unary.p50_ms <= rest.p50_ms,
        ),
    ]
    if model == "wide":
        share = stream.wire_bytes / rest.wire_bytes
        targets.append(
            Target(f"{numbers} numbers: stream ≤ 1/5 of the bytes of REST", f"1/{1 / share:.1f}", share <= _BYTES)
        )
    return targets


def _note(measured: _Measured, model: str) -> str:
    busy, stream = measured[REST, model, 16], measured[STREAM, model, 1]
    return (
        f"{SHAPES[model][0] * SHAPES[model][1]} numbers: against REST with 16 connections, one stream has "
        f"{stream.per_second / busy.per_second:.1f} × the items/s at 1/{busy.server_us / stream.server_us:.1f} of the CPU"
    )
