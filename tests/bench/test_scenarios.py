"""What the scenarios conclude from what they measured."""

import msgspec
import pytest

from bench import client, echo_client
from bench.load import Watched
from bench.model_spec import Described, parse
from bench.open_loop import Seen
from bench.peers import install
from bench.results import Result
from bench.scenarios import figures, overload
from bench.scenarios.fairness import group
from bench.scenarios.latency import added_ms
from bench.scenarios.overload import Step


def test_what_serving_adds_is_looked_at_text_by_text() -> None:
    assert added_ms([12.0, 103.0, 7.0], [10.0, 100.0, 6.0]) == 2.0
    assert added_ms([12.0, client.UNKNOWN], [10.0, 100.0]) == 2.0


def test_tenants_are_summed_and_the_worst_one_is_named() -> None:
    found = group(
        [
            Seen("a", {"200": 9, "503": 1}, [3.0, 5.0], [], []),
            Seen("b", {"200": 10}, [4.0], [], []),
        ]
    )
    assert (found.due, found.good, found.success, found.worst) == (20, 19, 0.95, 0.9)
    assert found.statuses == {"200": 19, "503": 1}
    assert found.latencies_ms == [3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("status", "answer", "right"),
    [
        (200, {"embedding": [0.25, 0.5], "cached": False}, True),
        (200, {"embedding": [0.5, 0.25], "cached": False}, False),
        (200, {"embedding": [0.25], "cached": False}, False),
        (200, {"embedding": [], "cached": False}, False),
        (200, {"embedding": [0.25, 0.5], "cached": True}, False),
        (200, {"predictions": []}, False),
        (500, {"embedding": [0.25, 0.5], "cached": False}, False),
    ],
)
def test_an_echo_is_right_only_when_it_is_of_its_own_input(status: int, answer: dict[str, object], right: bool) -> None:
    problem = echo_client.problem_of([0.25, 0.5], f"http/1.1 {status} x".encode(), msgspec.json.encode(answer))
    assert (problem == "") is right


def test_a_model_is_described_as_its_runtime_takes_it() -> None:
    spec = {
        "name": "sentiment",
        "version": "1.0.0",
        "runtime": "text-classification",
        "artefact": "models/sentiment",
        "digest": "d",
        "outputs": 2,
        "input_schema": {"kind": "text"},
        "max_batch_size": 32,
        "device": "cpu",
        "precision": "float32",
        "acceleration": "none",
        "options": {},
    }
    described = Described(spec=spec, labels=["negative", "positive"], version_id=1, pool="gpu", torch_threads=1)
    read = parse(msgspec.json.encode(described))
    assert read == described
    assert read.runtime_spec().artefact.name == "sentiment"


def test_every_package_of_the_peers_is_pinned() -> None:
    lines = [line for line in install.REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    assert any(line.startswith("litserve==") for line in lines)
    assert all(line.count("==") == 1 for line in lines)


def samples(scale: float = 1.0, *, state_us: float = 50.0) -> figures.Round:
    """This commit at 20 µs and 1000 calls/s, scaled; the reference and the earlier commit at 100 µs and 90 calls/s."""
    ours = figures.Sample(
        server_us=20 * scale, worker_us=0, state_us=state_us, per_second=1000 / scale, p50_ms=1, unavailable=0
    )
    theirs = figures.Sample(server_us=100, worker_us=0, state_us=50, per_second=90, p50_ms=1, unavailable=0)
    return {
        (way.what, way.connections, side): ours if side == figures.NOW else theirs
        for way in figures.WAYS
        for side in way.sides
    }


def test_the_figures_are_medians_of_ratios_within_a_round() -> None:
    rounds = [samples(), samples(), samples(50.0)]
    assert [each.claim for each in figures.conclude(rounds).targets if not each.met] == [
        "cached: web CPU ≤ 0.18 × the reference's at 64 connections"
    ]
    assert all(each.met for each in figures.conclude([samples(0.5)]).targets)


def test_each_figure_that_falls_short_is_said() -> None:
    assert not any(each.met for each in figures.conclude([samples(50.0, state_us=61.0)]).targets)
    slow = figures.conclude([samples(0.5, state_us=61.0)])
    assert [each.measured for each in slow.targets if not each.met] == ["61 µs"]


def step(times: int, *, good: int, refused: int = 0, broken: int = 0, recovery_s: float | None = 1.0) -> Step:
    counts = {"200": good, "503": refused, "broken": broken}
    statuses = {status: count for status, count in counts.items() if count}
    watched = Watched(rss_before=2**20, rss=2**20, queued_inputs=10, samples=1)
    return Step(times, 10.0, Seen("load", statuses, [], [], []), watched, 0.0, recovery_s)


def under_load(*steps: Step) -> Result:
    return overload.conclude(list(steps), capacity=100.0, usual_ms=10.0, split="")


def missed(result: Result) -> list[str]:
    return [target.claim.split()[0] for target in result.targets if not target.met]


def test_a_service_that_refuses_what_is_too_much_and_comes_back_meets_every_target() -> None:
    assert missed(under_load(step(1, good=950), step(5, good=920, refused=4000))) == []


@pytest.mark.parametrize(
    ("at_five", "claim"),
    [
        # The closed loop did 100 a second: two loads that are equally bad are no peak.
        (step(5, good=500, refused=4500), "goodput"),
        (step(5, good=950, refused=4000, broken=1), "nothing"),
        (step(5, good=950, refused=4000, recovery_s=11.0), "recovered"),
        (step(5, good=950, refused=4000, recovery_s=None), "recovered"),
    ],
)
def test_each_failing_under_load_is_a_target_that_is_missed(at_five: Step, claim: str) -> None:
    assert missed(under_load(step(1, good=500), at_five)) == [claim]
