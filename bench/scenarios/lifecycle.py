"""What version and schedule look-ups add to a cached predict: their own CPU against that of whole requests, in one run."""

import json
import subprocess
import sys
from statistics import median
from typing import Final

from bench import client
from bench.client import Job
from bench.processes import ROOT
from bench.product import Product
from bench.results import Result, Target

NAME: Final = "lifecycle"
_TEXT: Final = "A quiet evening by the sea."
_ROUNDS: Final = 5
_REQUESTS: Final = 1000
_TARGET: Final = 0.05


def run(product: Product) -> Result:
    """Rounds of whole requests, one at a time, and the same look-ups alone in a process of the same environment."""
    client.run(_job(product, requests=1, cached=False))
    client.run(_job(product, requests=_REQUESTS))
    lookups, requests = [], []
    for _ in range(_ROUNDS):
        before = product.cpu()
        done = client.run(_job(product, requests=_REQUESTS)).requests
        requests.append(product.cpu().since(before, "web") / done * 1e6)
        lookups.append(_lookups(product))
    rows = [
        [
            str(number),
            f"{whole:.0f}",
            f"{alone['current']:.1f}",
            f"{alone['current'] / whole:.3f}",
            f"{alone['deprecated']:.1f}",
        ]
        for number, (whole, alone) in enumerate(zip(requests, lookups, strict=True), start=1)
    ]
    ratio = median(alone["current"] / whole for whole, alone in zip(requests, lookups, strict=True))
    return Result(
        scenario=NAME,
        what=(
            f"CPU of selecting and judging the API version of a call, against a whole cached POST /v2/predict "
            f"({_ROUNDS} rounds of {_REQUESTS} requests, one at a time)."
        ),
        table=[["round", "request µs", "look-ups µs", "share", "with a deprecated version's headers µs"], *rows],
        targets=[Target(f"look-ups < {_TARGET:.0%} of a cached predict", f"{ratio:.1%} (median)", ratio < _TARGET)],
        notes=["before schedules existed, the selection alone was a part of these look-ups already"],
    )


def _job(product: Product, *, requests: int, cached: bool = True) -> Job:
    return Job(
        port=product.port,
        headers=product.headers,
        texts=[_TEXT],
        connections=1,
        requests=requests,
        cached=cached,
        seconds=20,
    )


def _lookups(product: Product) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.lookups"],
        cwd=ROOT,
        env=dict(product.env),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The look-ups could not be measured: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found
