"""Open-loop load at once, twice, five and ten times of what the product can compute: what is still answered, and the way back."""

from dataclasses import dataclass
from typing import Final

from bench import cores, load, open_loop, texts
from bench.load import Watched
from bench.open_loop import Job, Seen, Stream
from bench.product import Product
from bench.results import Result, Target

NAME: Final = "overload"
_TIMES: Final = (1, 2, 5, 10)
_SECONDS: Final = 60.0
_QUICK_S: Final = 10.0
_PATIENCE_S: Final = 2.0
"""A client says so in ``X-Request-Timeout``, and hangs up a second later than that."""
_ALLOWED: Final = {"200", "429", "503"}
_GOODPUT: Final = 0.9
_RECOVERY_S: Final = 10.0
_MEMORY: Final = 128 * 2**20
_QUEUED: Final = 2048


@dataclass(frozen=True, slots=True)
class Step:
    """One load: what clients saw, what the processes looked like, and how soon it was over (None: not within a minute)."""

    times: int
    seconds: float
    seen: Seen
    watched: Watched
    late_ms: float
    recovery_s: float | None

    @property
    def goodput(self) -> float:
        return self.seen.good / self.seconds


def run(product: Product, *, quick: bool = False) -> Result:
    """Measure the capacity in a closed loop, then one load after the other, each followed by its recovery."""
    seconds = _QUICK_S if quick else _SECONDS
    with cores.pinned(product.pids, worker="gpu-worker", web="web") as split:
        capacity = load.capacity(product, seconds=3 if quick else 8, seed=400)
        alone = sorted(load.answer_ms(product, text) for text in texts.distinct(30, seed=410))
        usual_ms = open_loop.percentile(alone, 0.9)
        steps = [
            _step(product, times, rate=times * capacity, seconds=seconds, usual_ms=usual_ms, seed=420 + times)
            for times in _TIMES
        ]
    return conclude(steps, capacity=capacity, usual_ms=usual_ms, split=split.said())


def _step(product: Product, times: int, *, rate: float, seconds: float, usual_ms: float, seed: int) -> Step:
    headers = {**product.headers, "X-Request-Timeout": f"{_PATIENCE_S:g}"}
    stream = Stream(name=f"load {times}", headers=headers, rate=rate)
    with load.watching(product) as watched:
        outcome = open_loop.run(
            Job(port=product.port, streams=[stream], seconds=seconds, patience_s=_PATIENCE_S + 1, seed=seed)
        )
    recovery_s = load.recovered_after(
        product, since=outcome.ended_at, usual_ms=usual_ms, give_up_s=60, seed=seed + 1000
    )
    return Step(times, seconds, outcome.seen[0], watched, outcome.late_ms, recovery_s)


def conclude(steps: list[Step], *, capacity: float, usual_ms: float, split: str) -> Result:
    """The table and the verdicts. The peak is the best of all loads and of the closed loop that gave the capacity."""
    return Result(
        scenario=NAME,
        what=(
            f"Requests with new texts at random moments at multiples of {capacity:.0f}/s (the throughput of {load.CLIENTS} "
            f"clients that wait for their answers), {steps[0].seconds:.0f} s each; every client gives the service "
            f"{_PATIENCE_S:g} s (X-Request-Timeout) and hangs up a second later; {split}."
        ),
        table=[
            [
                "load",
                "sent",
                "answers",
                "good/s",
                "p50 ms",
                "p99 ms",
                "web MiB (before, most)",
                "most queued inputs",
                "most batches in the broker",
                "recovered s",
                "generator late ms",
            ],
            *(_row(step) for step in steps),
        ],
        targets=_targets(steps, capacity),
        notes=[
            f"recovered: three new texts in a row, on new connections, in at most twice {usual_ms:.0f} ms, the 90th percentile "
            "before; seconds from the last request of the load to the first of the three",
            "latencies are of the good answers, from when a request was due; the generator is one process with one thread, and "
            "where it is itself late, it offered less than it says",
        ],
    )


def _targets(steps: list[Step], capacity: float) -> list[Target]:
    peak = max(capacity, *(step.goodput for step in steps))
    at_five = next(step.goodput for step in steps if step.times == 5)
    others = sum(count for step in steps for status, count in step.seen.statuses.items() if status not in _ALLOWED)
    queued = max(step.watched.queued_inputs for step in steps)
    grown = max(step.watched.rss for step in steps) - steps[0].watched.rss_before
    recoveries = [step.recovery_s for step in steps]
    slowest = max((each for each in recoveries if each is not None), default=0.0)
    back = None not in recoveries
    return [
        Target(
            f"goodput at 5 × ≥ {_GOODPUT:.0%} of the peak",
            f"{at_five / peak:.1%} of {peak:.0f}/s",
            at_five >= _GOODPUT * peak,
        ),
        Target(
            "nothing but 200, 429 and 503",
            f"{others} of {sum(step.seen.due for step in steps)} otherwise",
            others == 0,
        ),
        Target(f"queue ≤ {_QUEUED} inputs", f"{queued:.0f}", queued <= _QUEUED),
        Target(f"the web process grows by ≤ {_MEMORY / 2**20:.0f} MiB", f"{grown / 2**20:.0f} MiB", grown <= _MEMORY),
        Target(
            f"recovered within {_RECOVERY_S:g} s",
            f"{slowest:.1f} s (slowest)" if back else "not within 60 s",
            back and slowest <= _RECOVERY_S,
        ),
    ]


def _row(step: Step) -> list[str]:
    seen, watched = step.seen, step.watched
    return [
        f"{step.times} ×",
        str(seen.due),
        ", ".join(f"{count} × {status}" for status, count in sorted(seen.statuses.items())),
        f"{step.goodput:.1f}",
        f"{open_loop.percentile(seen.latencies_ms, 0.5):.0f}",
        f"{open_loop.percentile(seen.latencies_ms, 0.99):.0f}",
        f"{watched.rss_before / 2**20:.0f}, {watched.rss / 2**20:.0f}",
        f"{watched.queued_inputs:.0f}" if watched.samples else "unknown",
        str(watched.waiting_batches),
        "no" if step.recovery_s is None else f"{step.recovery_s:.1f}",
        f"{step.late_ms:.0f}",
    ]
