"""Distinct ``sentiment`` texts from 64 clients: throughput against the bare model at its best batch size, and LitServe."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench import bare_model, client, cores, model_spec, texts
from bench.bare_model import BareModel, Loop, Ran
from bench.client import Job, Outcome
from bench.cores import Split
from bench.model_spec import Described
from bench.peers import install, litserve
from bench.peers.litserve import LitServe
from bench.product import Product
from bench.results import Result, Target

NAME: Final = "engine"
_CLIENTS: Final = 64
_BATCHES: Final = (1, 4, 8, 16, 32, 64)
_TIMEOUTS_S: Final = (0.0, 0.002, 0.01, 0.03)
_BARE_SHARE: Final = 0.95
_LITSERVE: Final = 1.3
_TOLERANCE: Final = 5e-4
"""Of a score: packing a text with other neighbours changes its last bits, and answers are rounded to six digits."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """How much is measured: rounds, how long each side takes in one, and texts of each probe of a setting."""

    rounds: int
    round_s: float
    probe: int


_FULL: Final = _Plan(rounds=5, round_s=8.0, probe=256)
_QUICK: Final = _Plan(rounds=1, round_s=2.0, probe=64)


@dataclass(frozen=True, slots=True)
class _Round:
    """The same texts by all three; ``batch`` is the mean size that the product formed, CPU is of an input."""

    product: Outcome
    bare: Ran
    litserve: Outcome
    batch: float
    web_us: float
    worker_us: float
    redis_us: float

    @property
    def of_bare(self) -> float:
        return self.product.per_second / self.bare.per_second

    @property
    def of_litserve(self) -> float:
        return self.product.per_second / self.litserve.per_second


def run(product: Product, folder: Path, *, quick: bool = False) -> Result:
    """Rounds in which all three get the same texts, new in each round, in turns; one worker core and one web core each."""
    plan = _QUICK if quick else _FULL
    install.ensure()
    described = model_spec.read("sentiment", product.env)
    with (
        cores.pinned(product.pids, worker="gpu-worker", web="web") as split,
        bare_model.loaded(product.env, cores=split.worker) as bare,
    ):
        best, speed = _best_batch(bare, plan)
        count = max(4 * _CLIENTS, min(20_000, round(speed * plan.round_s / _CLIENTS) * _CLIENTS))
        timeouts = _tried(described, split, folder, plan)
        timeout_s = max(timeouts, key=lambda each: timeouts[each])
        with litserve.started(
            described,
            split,
            folder,
            max_batch_size=described.spec["max_batch_size"],
            batch_timeout_s=timeout_s,
        ) as peer:
            warm = texts.distinct(4 * _CLIENTS, seed=101)
            client.run(_job(product.port, product.headers, warm))
            _of_litserve(peer, warm)
            rounds = [
                _round(number, product, bare, peer, texts.distinct(count, seed=102 + number), best)
                for number in range(plan.rounds)
            ]
    return _result(rounds, best, timeouts, split)


def _job(port: int, headers: dict[str, str], samples: list[str]) -> Job:
    return Job(
        port=port,
        headers=headers,
        texts=samples,
        connections=_CLIENTS,
        requests=len(samples),
        cached=False,
        scores=True,
    )


def _best_batch(bare: BareModel, plan: _Plan) -> tuple[int, float]:
    """The batch size at which the bare loop is fastest, and its texts a second."""
    probe = texts.distinct(plan.probe, seed=100)
    bare.run(Loop(probe[:64], 32))
    speeds = {size: median(bare.run(Loop(probe, size)).per_second for _ in range(2)) for size in _BATCHES}
    best = max(speeds, key=lambda size: speeds[size])
    return best, speeds[best]


def _tried(described: Described, split: Split, folder: Path, plan: _Plan) -> dict[float, float]:
    """Texts a second of LitServe by its batch time-out, so that it is compared at its best."""
    size: int = described.spec["max_batch_size"]
    speeds = {}
    for number, timeout_s in enumerate(_TIMEOUTS_S):
        probe = texts.distinct(plan.probe, seed=110 + number)
        with litserve.started(described, split, folder, max_batch_size=size, batch_timeout_s=timeout_s) as peer:
            _of_litserve(peer, texts.distinct(_CLIENTS, seed=120 + number))
            speeds[timeout_s] = _of_litserve(peer, probe).per_second
    return speeds


def _of_litserve(peer: LitServe, samples: list[str]) -> Outcome:
    with peer.awake():
        return client.run(_job(peer.port, {}, samples))


def _round(number: int, product: Product, bare: BareModel, peer: LitServe, samples: list[str], best: int) -> _Round:
    """Whose turn is first changes from round to round."""
    found: dict[str, Outcome] = {}
    ran: list[Ran] = []
    measured: list[tuple[float, float, float, float]] = []

    def ours() -> None:
        cpu_before, batches_before = product.cpu(), product.batches()
        found["product"] = client.run(_job(product.port, product.headers, samples))
        cpu, batches = product.cpu(), product.batches()
        sent, inputs = (after - earlier for earlier, after in zip(batches_before, batches, strict=True))
        if inputs < found["product"].requests:
            raise RuntimeError(
                f"{found['product'].requests} distinct texts were answered, but {inputs:.0f} sent to the worker."
            )
        scale = 1e6 / len(samples)
        spent = [cpu.since(cpu_before, *names) * scale for names in _PARTS]
        measured.append((inputs / sent, spent[0], spent[1], spent[2]))

    def theirs() -> None:
        found["litserve"] = _of_litserve(peer, samples)

    turns: list[Callable[[], object]] = [ours, theirs, lambda: ran.append(bare.run(Loop(samples, best)))]
    for turn in range(len(turns)):
        turns[(turn + number) % len(turns)]()
    for name, outcome in found.items():
        _agree(name, outcome.scores, ran[0].scores)
    batch, web_us, worker_us, redis_us = measured[0]
    return _Round(
        product=found["product"],
        bare=ran[0],
        litserve=found["litserve"],
        batch=batch,
        web_us=web_us,
        worker_us=worker_us,
        redis_us=redis_us,
    )


_PARTS: Final = (("web",), ("gpu-worker",), ("redis-state", "redis-cache"))


def _agree(name: str, scores: list[float], bare: list[float]) -> None:
    """Raises RuntimeError when an answer is not the bare model's."""
    apart = max(abs(one - other) for one, other in zip(scores, bare, strict=True) if one != client.UNKNOWN)
    if apart > _TOLERANCE:
        raise RuntimeError(f"An answer of {name} differs by {apart:.6f} from the bare model's.")


def _result(rounds: list[_Round], best: int, timeouts: dict[float, float], split: Split) -> Result:
    head = [
        "round",
        "product/s",
        "bare/s",
        "LitServe/s",
        "of bare",
        "of LitServe",
        "mean batch",
        "p50 ms (p / L)",
        "p99 ms (p / L)",
        "CPU µs an input: web, worker, Redis, bare",
    ]
    table = [head, *(_row(number, each) for number, each in enumerate(rounds, start=1))]
    of_bare = median(each.of_bare for each in rounds)
    of_litserve = median(each.of_litserve for each in rounds)
    chosen_s = max(timeouts, key=lambda each: timeouts[each])
    tried = ", ".join(f"{seconds * 1000:g} ms: {speed:.0f}/s" for seconds, speed in timeouts.items())
    bare = rounds[0].bare
    return Result(
        scenario=NAME,
        what=(
            f"{_CLIENTS} clients, {rounds[0].product.requests} distinct texts a round, against the same weights in a loop with "
            f"its best batch size ({best}), and served by LitServe with batching. Torch threads: {bare.threads}, on "
            f"{bare.device}, all three; {split.said()}."
        ),
        table=table,
        targets=[
            Target(f"product ≥ {_BARE_SHARE:.0%} of the bare model", f"{of_bare:.1%} (median)", of_bare >= _BARE_SHARE),
            Target(f"product ≥ {_LITSERVE:g} × LitServe", f"{of_litserve:.2f} × (median)", of_litserve >= _LITSERVE),
        ],
        notes=[
            f"every answer of both was compared with the bare model's score, to within {_TOLERANCE:g}",
            f"LitServe's batch_timeout was chosen from a probe of each ({tried}): {chosen_s * 1000:g} ms; its other settings: "
            "max_batch_size of the model version, fast_queue, one API server, uvicorn with uvloop and httptools",
            f"503 answers of the product in all rounds: {sum(each.product.unavailable for each in rounds)}",
        ],
    )


def _row(number: int, each: _Round) -> list[str]:
    bare_us = each.bare.cpu_s * 1e6 / len(each.bare.scores)
    return [
        str(number),
        f"{each.product.per_second:.1f}",
        f"{each.bare.per_second:.1f}",
        f"{each.litserve.per_second:.1f}",
        f"{each.of_bare:.3f}",
        f"{each.of_litserve:.2f}",
        f"{each.batch:.1f}",
        f"{each.product.p50_ms:.0f} / {each.litserve.p50_ms:.0f}",
        f"{each.product.p99_ms:.0f} / {each.litserve.p99_ms:.0f}",
        f"{each.web_us:.0f}, {each.worker_us:.0f}, {each.redis_us:.0f}, {bare_us:.0f}",
    ]
