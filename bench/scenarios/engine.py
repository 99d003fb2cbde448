"""Distinct ``sentiment`` texts from 64 clients: throughput against the bare model at its best batch size, and LitServe.

LitServe serves the same weights twice: in padded batches, as its examples and most teams do, and with the product's own runtime,
which packs. The first is what the product is an alternative to; the second shows what serving alone is worth.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench import bare_model, client, cores, model_spec, texts
from bench.bare_model import BareModel, Loop, Ran
from bench.client import ClientOutcome, Job
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
_PADDED_SIZES: Final = (4, 8, 16, 64)
"""What a text costs in a padded batch grows with the batch, so that its best size is tried, too."""
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

    product: ClientOutcome
    bare: Ran
    litserve: ClientOutcome
    padded: ClientOutcome
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

    @property
    def of_padded(self) -> float:
        return self.product.per_second / self.padded.per_second


@dataclass(frozen=True, slots=True)
class _Settings:
    """With what LitServe is fastest, and the texts a second of every setting that was tried."""

    max_batch_size: int
    batch_timeout_s: float
    tried: str


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
        size: int = described.spec["max_batch_size"]
        packed = _tried(described, split, folder, plan, sizes=(size,), padded=False)
        padded = _tried(described, split, folder, plan, sizes=_PADDED_SIZES, padded=True)
        with (
            _serving(described, split, folder, packed, padded=False) as peer,
            _serving(described, split, folder, padded, padded=True) as padded_peer,
        ):
            warm = texts.distinct(4 * _CLIENTS, seed=101)
            client.run(_job(product.port, product.headers, warm))
            _of_litserve(peer, warm)
            _of_litserve(padded_peer, warm)
            rounds = [
                _round(number, product, bare, peer, padded_peer, texts.distinct(count, seed=102 + number), best)
                for number in range(plan.rounds)
            ]
    return _result(rounds, best, packed, padded, split)


def _serving(
    described: Described, split: Split, folder: Path, found: _Settings, *, padded: bool
) -> AbstractContextManager[LitServe]:
    return litserve.started(
        described,
        split,
        folder,
        max_batch_size=found.max_batch_size,
        batch_timeout_s=found.batch_timeout_s,
        padded=padded,
    )


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


def _tried(
    described: Described, split: Split, folder: Path, plan: _Plan, *, sizes: Sequence[int], padded: bool
) -> _Settings:
    """LitServe's fastest setting, so that it is compared at its best: first the batch size, then the time-out."""
    speeds: dict[tuple[int, float], float] = {}

    def probe(size: int, timeout_s: float) -> None:
        number = len(speeds)
        setting = _Settings(size, timeout_s, "")
        with _serving(described, split, folder, setting, padded=padded) as peer:
            _of_litserve(peer, texts.distinct(_CLIENTS, seed=120 + number))
            samples = texts.distinct(plan.probe, seed=140 + number)
            speeds[size, timeout_s] = _of_litserve(peer, samples).per_second

    for size in sizes:
        probe(size, _TIMEOUTS_S[0])
    best_size = max(speeds, key=lambda each: speeds[each])[0]
    for timeout_s in _TIMEOUTS_S[1:]:
        probe(best_size, timeout_s)
    size, timeout_s = max(speeds, key=lambda each: speeds[each])
    tried = ", ".join(f"{each} and {seconds * 1000:g} ms: {speed:.0f}/s" for (each, seconds), speed in speeds.items())
    return _Settings(size, timeout_s, tried)


def _of_litserve(peer: LitServe, samples: list[str]) -> ClientOutcome:
    with peer.awake():
        return client.run(_job(peer.port, {}, samples))


def _round(
    number: int,
    product: Product,
    bare: BareModel,
    peer: LitServe,
    padded_peer: LitServe,
    samples: list[str],
    best: int,
) -> _Round:
    """Whose turn is first changes from round to round."""
    found: dict[str, ClientOutcome] = {}
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

    def padded() -> None:
        found["padded LitServe"] = _of_litserve(padded_peer, samples)

    turns: list[Callable[[], object]] = [ours, theirs, lambda: ran.append(bare.run(Loop(samples, best))), padded]
    for turn in range(len(turns)):
        turns[(turn + number) % len(turns)]()
    for name, outcome in found.items():
        _agree(name, outcome.scores, ran[0].scores)
    batch, web_us, worker_us, redis_us = measured[0]
    return _Round(
        product=found["product"],
        bare=ran[0],
        litserve=found["litserve"],
        padded=found["padded LitServe"],
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


def _result(rounds: list[_Round], best: int, packed: _Settings, padded: _Settings, split: Split) -> Result:
    head = [
        "round",
        "product/s",
        "bare/s",
        "LitServe/s: padded",
        "packed",
        "of bare",
        "of LitServe: padded",
        "packed",
        "mean batch",
        "p50 ms (p / L padded / L packed)",
        "p99 ms",
        "CPU µs an input: web, worker, Redis, bare",
    ]
    table = [head, *(_row(number, each) for number, each in enumerate(rounds, start=1))]
    of_bare = median(each.of_bare for each in rounds)
    of_litserve = median(each.of_litserve for each in rounds)
    of_padded = median(each.of_padded for each in rounds)
    bare = rounds[0].bare
    return Result(
        scenario=NAME,
        what=(
            f"{_CLIENTS} clients, {rounds[0].product.requests} distinct texts a round, against the same weights in a loop with "
            f"its best batch size ({best}), and served by LitServe with batching. Torch threads: {bare.threads}, on "
            f"{bare.device}, all of them; {split.said()}."
        ),
        table=table,
        targets=[
            Target(f"product ≥ {_BARE_SHARE:.0%} of the bare model", f"{of_bare:.1%} (median)", of_bare >= _BARE_SHARE),
            Target(
                f"product ≥ {_LITSERVE:g} × LitServe with padded batches",
                f"{of_padded:.2f} × (median)",
                of_padded >= _LITSERVE,
            ),
            Target(
                f"product ≥ {_LITSERVE:g} × LitServe with the product's own runtime",
                f"{of_litserve:.2f} × (median)",
                of_litserve >= _LITSERVE,
            ),
        ],
        notes=[
            f"every answer of all was compared with the bare model's score, to within {_TOLERANCE:g}",
            f"LitServe's max_batch_size and batch_timeout were chosen from probes, padded {padded.tried}; packed {packed.tried}",
            "its other settings: fast_queue, one API server, uvicorn with uvloop and httptools",
            "the bare loop is plain: its process has the C library's own allocator settings, the worker keeps what a batch frees",
            f"503 answers of the product in all rounds: {sum(each.product.unavailable for each in rounds)}",
        ],
    )


def _row(number: int, each: _Round) -> list[str]:
    bare_us = each.bare.cpu_s * 1e6 / len(each.bare.scores)
    return [
        str(number),
        f"{each.product.per_second:.1f}",
        f"{each.bare.per_second:.1f}",
        f"{each.padded.per_second:.1f}",
        f"{each.litserve.per_second:.1f}",
        f"{each.of_bare:.3f}",
        f"{each.of_padded:.2f}",
        f"{each.of_litserve:.2f}",
        f"{each.batch:.1f}",
        f"{each.product.p50_ms:.0f} / {each.padded.p50_ms:.0f} / {each.litserve.p50_ms:.0f}",
        f"{each.product.p99_ms:.0f} / {each.padded.p99_ms:.0f} / {each.litserve.p99_ms:.0f}",
        f"{each.web_us:.0f}, {each.worker_us:.0f}, {each.redis_us:.0f}, {bare_us:.0f}",
    ]
