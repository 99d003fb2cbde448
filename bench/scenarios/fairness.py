"""One tenant that asks for 20 times its share beside nine that stay within theirs: what the nine notice."""

from dataclasses import dataclass
from typing import Final

from bench import cores, customer, load, open_loop
from bench.open_loop import Job, OpenLoopOutcome, Seen, Stream, percentile
from bench.product import Product
from bench.results import Result, Target

NAME: Final = "fairness"
_QUIET: Final = 9
_NOISE: Final = 20
_OF_SHARE: Final = 0.5
"""A quiet tenant asks for half of its share, so that the nine alone leave the worker idle more than half of the time."""
_SECONDS: Final = 45.0
_QUICK_S: Final = 8.0
_PATIENCE_S: Final = 5.0
_SUCCESS: Final = 0.995
_SLOWER: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Group:
    """Tenants that are looked at together."""

    due: int
    good: int
    worst: float
    statuses: dict[str, int]
    latencies_ms: list[float]

    @property
    def success(self) -> float:
        return self.good / self.due


def group(seen: list[Seen]) -> _Group:
    """Sum what several tenants saw; ``worst`` is the smallest share of good answers that one of them got."""
    statuses: dict[str, int] = {}
    for each in seen:
        for status, count in each.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    return _Group(
        due=sum(each.due for each in seen),
        good=sum(each.good for each in seen),
        worst=min(each.good / each.due for each in seen),
        statuses=statuses,
        latencies_ms=sorted(taken for each in seen for taken in each.latencies_ms),
    )


def run(product: Product, *, quick: bool = False) -> Result:
    """The nine alone, then the same nine beside the noisy one."""
    seconds = _QUICK_S if quick else _SECONDS
    keys = customer.make(product.env, ["noisy", *(f"quiet-{number}" for number in range(1, _QUIET + 1))])
    with cores.pinned(product.pids, worker="gpu-worker", web="web") as split:
        capacity = load.capacity(product, seconds=3 if quick else 8, seed=500)
        share = capacity / (_QUIET + 1)
        noisy = _stream("noisy", keys[0], _NOISE * share)
        quiet = [_stream(f"quiet {number}", key, _OF_SHARE * share) for number, key in enumerate(keys[1:], start=1)]
        alone = _run(product, quiet, seconds, seed=510)
        beside = _run(product, [noisy, *quiet], seconds, seed=511)
    groups = {
        "nine quiet, alone": group(alone.seen),
        "nine quiet, beside the noisy one": group(beside.seen[1:]),
        "the noisy one": group(beside.seen[:1]),
    }
    return _result(groups, share=share, seconds=seconds, late_ms=max(alone.late_ms, beside.late_ms), split=split.said())


def _stream(name: str, key: str, rate: float) -> Stream:
    headers = {
        "Authorization": f"Bearer {key}",
        "User-Agent": "bench/1",
        "X-Request-Timeout": f"{_PATIENCE_S:g}",
    }
    return Stream(name=name, headers=headers, rate=rate)


def _run(product: Product, streams: list[Stream], seconds: float, *, seed: int) -> OpenLoopOutcome:
    return open_loop.run(
        Job(port=product.port, streams=streams, seconds=seconds, patience_s=_PATIENCE_S + 1, seed=seed)
    )


def _result(groups: dict[str, _Group], *, share: float, seconds: float, late_ms: float, split: str) -> Result:
    alone, beside, noisy = groups.values()
    usual, found = percentile(alone.latencies_ms, 0.99), percentile(beside.latencies_ms, 0.99)
    slower = found / usual if usual else float("inf")
    table = [["tenants", "sent/s", "good/s", "good", "worst tenant", "p50 ms", "p99 ms", "answers"]]
    for name, each in groups.items():
        table.append(
            [
                name,
                f"{each.due / seconds:.1f}",
                f"{each.good / seconds:.1f}",
                f"{each.success:.2%}",
                f"{each.worst:.2%}",
                f"{percentile(each.latencies_ms, 0.5):.0f}",
                f"{percentile(each.latencies_ms, 0.99):.0f}",
                ", ".join(f"{count} × {status}" for status, count in sorted(each.statuses.items())),
            ]
        )
    return Result(
        scenario=NAME,
        what=(
            f"Ten tenants of one plan whose limits are never reached; a share is a tenth of the throughput, {share:.1f}/s. "
            f"Nine ask for {_OF_SHARE:g} of theirs, one for {_NOISE} × its own; new texts at random moments for {seconds:.0f} s; "
            f"every client gives the service {_PATIENCE_S:g} s; {split}."
        ),
        table=table,
        targets=[
            Target(f"quiet tenants ≥ {_SUCCESS:.1%} good", f"{beside.success:.2%}", beside.success >= _SUCCESS),
            Target(
                f"quiet tenants' p99 ≤ {_SLOWER:g} × that without the noisy one",
                f"{slower:.2f} × ({found:.0f} against {usual:.0f} ms)",
                slower <= _SLOWER,
            ),
        ],
        notes=[
            f"the noisy tenant got {noisy.good / seconds:.1f}/s; the quiet ones leave "
            f"{share * (_QUIET + 1) - beside.good / seconds:.1f}/s over",
            f"the generator was late by at most {late_ms:.0f} ms (99th percentile)",
        ],
    )
