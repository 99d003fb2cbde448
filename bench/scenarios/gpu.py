"""Sentences a second of ``minilm`` through the worker against the bare model on a GPU, and the latency, by batch size."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from bench import bare_model, model_spec, texts, worker_driver
from bench.bare_model import BareModel, Loop, Ran
from bench.model_spec import Described
from bench.processes import ROOT
from bench.product import Product
from bench.results import Result, Target
from bench.worker_driver import Job, WorkerOutcome

NAME: Final = "gpu"
_BATCHES: Final = (1, 4, 16, 32, 64, 128, 256)
_IN_FLIGHT: Final = 3
_SECONDS: Final = 6.0
_TARGET: Final = 0.85


@dataclass(frozen=True, slots=True)
class _Point:
    """One batch size, through the worker and bare."""

    size: int
    worker: WorkerOutcome
    bare: Ran

    @property
    def ratio(self) -> float:
        return self.worker.per_second / self.bare.per_second


def run(product: Product, *, quick: bool = False, anywhere: bool = False) -> Result:
    """Measure each batch size that the model version allows; ``anywhere`` does it on a processor as well, to try the scenario."""
    device = _device(product)
    if device == "cpu" and not anywhere:
        return Result(
            scenario=NAME,
            what="The worker against the bare model on a GPU.",
            table=[["device"], ["no GPU here"]],
            targets=[],
            notes=["run it where torch.cuda.is_available() is true"],
        )
    described = model_spec.read("minilm", product.env)
    most: int = described.spec["max_batch_size"]
    sizes = [size for size in _BATCHES if size < most] + [most]
    with bare_model.loaded(product.env, name="minilm") as bare:
        points = [
            _point(product, described, bare, size, seconds=1.0 if quick else _SECONDS, seed=700 + number)
            for number, size in enumerate(sizes)
        ]
    return _result(points, device, described)


def _device(product: Product) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "import torch; print('cuda' if torch.cuda.is_available() else 'cpu')"],
        cwd=ROOT,
        env=dict(product.env),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _point(product: Product, described: Described, bare: BareModel, size: int, *, seconds: float, seed: int) -> _Point:
    job = Job(
        version_id=described.version_id,
        digest=described.spec["digest"],
        input_schema=described.spec["input_schema"],
        pool=described.pool,
        batch_size=size,
        in_flight=_IN_FLIGHT,
        seconds=min(1.0, seconds),
        seed=seed,
    )
    speed = worker_driver.run(job, product.env).per_second
    samples = texts.distinct(max(4 * size, round(speed * seconds) // size * size), seed=seed)
    bare.run(Loop(samples[: 4 * size], size))
    found = worker_driver.run(
        Job(
            version_id=job.version_id,
            digest=job.digest,
            input_schema=job.input_schema,
            pool=job.pool,
            batch_size=size,
            in_flight=_IN_FLIGHT,
            seconds=seconds,
            seed=seed,
        ),
        product.env,
    )
    return _Point(size, found, bare.run(Loop(samples, size)))


def _result(points: list[_Point], device: str, described: Described) -> Result:
    table = [
        ["batch", "worker/s", "bare/s", "ratio", "worker p50 ms", "p99 ms", "bare ms", "in the model"],
    ]
    for each in points:
        ordered = sorted(each.bare.batch_ms)
        table.append(
            [
                str(each.size),
                f"{each.worker.per_second:.0f}",
                f"{each.bare.per_second:.0f}",
                f"{each.ratio:.3f}",
                f"{each.worker.p50_ms:.1f}",
                f"{each.worker.p99_ms:.1f}",
                f"{ordered[len(ordered) // 2]:.1f}",
                f"{each.worker.compute_s / each.worker.wall_s:.0%}",
            ]
        )
    best = max(points, key=lambda each: each.bare.per_second)
    fastest = max(point.worker.per_second for point in points)
    ratio = fastest / best.bare.per_second
    return Result(
        scenario=NAME,
        what=(
            f"minilm@{described.spec['version']} in {described.spec['precision']} (acceleration: "
            f"{described.spec['acceleration']}) on {points[0].bare.device}; {_IN_FLIGHT} batches on their way at a time, sent "
            "by one process through the broker; the bare model runs the same batch sizes in a loop."
        ),
        table=table,
        targets=[
            Target(
                f"worker ≥ {_TARGET:.0%} of the bare model, each at its best batch size",
                f"{ratio:.1%} ({fastest:.0f}/s against {best.bare.per_second:.0f}/s at {best.size})",
                ratio >= _TARGET,
            )
        ]
        if device != "cpu"
        else [],
        notes=["a batch's time through the worker includes its waiting behind the others that are on their way"],
    )
