"""What serving adds to one forward pass when there is one client: the product and LitServe, each against the bare model."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench import bare_model, client, cores, model_spec, texts
from bench.bare_model import BareModel, Loop
from bench.client import Job
from bench.cores import Split
from bench.peers import install, litserve
from bench.peers.litserve import LitServe
from bench.product import Product
from bench.results import Result, Target

NAME: Final = "latency"
_TARGET_MS: Final = 3.0
_GOAL_MS: Final = 2.5
_ROUNDS: Final = 5
_TEXTS: Final = 150
_PAUSE_S: Final = 0.003


@dataclass(frozen=True, slots=True)
class _Round:
    """Milliseconds of each text, in the same order, by each side; ``paused`` is the bare model that rests between texts."""

    product: list[float]
    litserve: list[float]
    bare: list[float]
    paused: list[float]


def run(product: Product, folder: Path, *, quick: bool = False) -> Result:
    """Rounds of the same new texts, one at a time, by all in turns."""
    install.ensure()
    described = model_spec.read("sentiment", product.env)
    with (
        cores.pinned(product.pids, worker="gpu-worker", web="web") as split,
        bare_model.loaded(product.env, cores=split.worker) as bare,
        # With one client there is nothing to wait for, so that any time-out would only add to its latency.
        litserve.started(
            described, split, folder, max_batch_size=described.spec["max_batch_size"], batch_timeout_s=0.0
        ) as peer,
    ):
        _round(0, product, bare, peer, texts.distinct(20, seed=200))
        rounds = [
            _round(number, product, bare, peer, texts.distinct(40 if quick else _TEXTS, seed=201 + number))
            for number in range(1 if quick else _ROUNDS)
        ]
    return _result(rounds, split)


def _round(number: int, product: Product, bare: BareModel, peer: LitServe, samples: list[str]) -> _Round:
    found: dict[str, list[float]] = {}

    def ours() -> None:
        found["product"] = client.run(_job(product.port, product.headers, samples)).latencies_ms

    def theirs() -> None:
        with peer.awake():
            found["litserve"] = client.run(_job(peer.port, {}, samples)).latencies_ms

    def alone() -> None:
        found["bare"] = bare.run(Loop(samples, 1)).batch_ms
        found["paused"] = bare.run(Loop(samples, 1, pause_s=_PAUSE_S)).batch_ms

    turns = [ours, theirs, alone]
    for turn in range(len(turns)):
        turns[(turn + number) % len(turns)]()
    return _Round(**found)


def _job(port: int, headers: dict[str, str], samples: list[str]) -> Job:
    return Job(
        port=port,
        headers=headers,
        texts=samples,
        connections=1,
        requests=len(samples),
        cached=False,
        latencies=True,
    )


def added_ms(served: list[float], bare: list[float]) -> float:
    """The median over the texts of what serving each one added to its own forward pass; texts without an answer do not count."""
    pairs = [(one, other) for one, other in zip(served, bare, strict=True) if one != client.UNKNOWN]
    return median(one - other for one, other in pairs)


def _result(rounds: list[_Round], split: Split) -> Result:
    table = [
        [
            "round",
            "p50 ms: bare",
            "product",
            "LitServe",
            "added ms: product",
            "LitServe",
            "bare after a pause",
        ]
    ]
    for number, each in enumerate(rounds, start=1):
        table.append(
            [
                str(number),
                f"{median(each.bare):.2f}",
                f"{median(each.product):.2f}",
                f"{median(each.litserve):.2f}",
                f"{added_ms(each.product, each.bare):.2f}",
                f"{added_ms(each.litserve, each.bare):.2f}",
                f"{added_ms(each.paused, each.bare):.2f}",
            ]
        )
    ours = median(added_ms(each.product, each.bare) for each in rounds)
    theirs = median(added_ms(each.litserve, each.bare) for each in rounds)
    rest = median(added_ms(each.paused, each.bare) for each in rounds)
    return Result(
        scenario=NAME,
        what=(
            f"One client, {len(rounds[0].bare)} distinct texts a round; added is the median over the texts of each text's time "
            f"less its own forward pass alone; {split.said()}."
        ),
        table=table,
        targets=[
            Target(f"product adds ≤ {_TARGET_MS:g} ms", f"{ours:.2f} ms (median)", ours <= _TARGET_MS),
            Target("product adds less than LitServe", f"{ours:.2f} against {theirs:.2f} ms", ours < theirs),
        ],
        notes=[
            f"the goal of {_GOAL_MS:g} ms is {'reached' if ours <= _GOAL_MS else 'not reached'}",
            f"after a pause of {_PAUSE_S * 1000:g} ms the forward pass itself takes {rest:+.2f} ms against a tight loop, "
            "with either server",
            "LitServe runs with batch_timeout 0, its fastest for one client; any time-out would be added to every answer",
        ],
    )
