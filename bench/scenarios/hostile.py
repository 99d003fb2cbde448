"""Ten hostile models of tenants called at once, beside a customer of a model on sale: what that customer notices."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from bench import hostile_models, load, open_loop
from bench.hostile_models import Hostile
from bench.open_loop import OK, Job, Seen, Stream, percentile
from bench.product import Product
from bench.results import Result, Target

NAME: Final = "hostile"
_OF_CAPACITY: Final = 0.2
_SECONDS: Final = 40.0
_QUICK_S: Final = 10.0
_PATIENCE_S: Final = 10.0
_SLOWER: Final = 1.5


def run(product: Product, folder: Path, *, quick: bool = False) -> Result:
    """The customer alone, then beside them, twice in turn."""
    seconds = _QUICK_S if quick else _SECONDS
    hostile = hostile_models.install(product.env, folder / "hostile")
    rate = _OF_CAPACITY * load.capacity(product, seconds=3 if quick else 8, seed=600)
    stream = Stream(name="customer", headers={**product.headers, "X-Request-Timeout": f"{_PATIENCE_S:g}"}, rate=rate)
    alone, beside, answers = [], [], Counter[int]()
    for turn in range(2):
        alone.append(_seen(product, stream, seconds / 2, seed=610 + turn))
        with _called(product, hostile, answers):
            beside.append(_seen(product, stream, seconds / 2, seed=620 + turn))
    return _result(alone, beside, answers, rate=rate, seconds=seconds)


def _seen(product: Product, stream: Stream, seconds: float, *, seed: int) -> Seen:
    job = Job(port=product.port, streams=[stream], seconds=seconds, patience_s=_PATIENCE_S, seed=seed)
    return open_loop.run(job).seen[0]


@contextmanager
def _called(product: Product, hostile: list[Hostile], answers: Counter[int]) -> Iterator[None]:
    """Each of them called again as soon as it has answered, for the time of the block."""
    stop = threading.Event()

    def call(one: Hostile) -> None:
        body = json.dumps({"model": one.model, "input": one.text})
        headers = {
            "Authorization": f"Bearer {one.key}",
            "Content-Type": "application/json",
            "Cache-Control": "no-cache",
        }
        while not stop.is_set():
            connection = HTTPConnection("127.0.0.1", product.port, timeout=60)
            try:
                connection.request("POST", "/v2/predict", body, headers)
                response = connection.getresponse()
                response.read()
                answers[response.status] += 1
            except (OSError, HTTPException):
                answers[0] += 1
            finally:
                connection.close()
            stop.wait(0.2)

    threads = [threading.Thread(target=call, args=(one,), daemon=True) for one in hostile]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(70)


def _result(alone: list[Seen], beside: list[Seen], answers: Counter[int], *, rate: float, seconds: float) -> Result:
    rows = {"alone": alone, "beside ten hostile models": beside}
    table = [["", "sent", "good", "failed", "p50 ms", "p99 ms"]]
    p99 = {}
    failed = {}
    for name, seen in rows.items():
        latencies = sorted(taken for each in seen for taken in each.latencies_ms)
        p99[name] = percentile(latencies, 0.99)
        failed[name] = sum(count for each in seen for status, count in each.statuses.items() if status != OK)
        table.append(
            [
                name,
                str(sum(each.due for each in seen)),
                str(sum(each.good for each in seen)),
                str(failed[name]),
                f"{percentile(latencies, 0.5):.1f}",
                f"{p99[name]:.1f}",
            ]
        )
    usual, found = p99.values()
    lost = list(failed.values())[1]
    slower = found / usual if usual else float("inf")
    return Result(
        scenario=NAME,
        what=(
            f"A customer of `sentiment` sends new texts at random moments, {rate:.1f}/s (a fifth of what the worker computes), "
            f"for {seconds:.0f} s alone and as long beside ten tenants whose models hang, panic or grow on what they send; in "
            "turns."
        ),
        table=table,
        targets=[
            Target("0 of the customer's calls fail", str(lost), lost == 0),
            Target(
                f"p99 ≤ {_SLOWER:g} × that without them",
                f"{slower:.2f} × ({found:.0f} against {usual:.0f} ms)",
                slower <= _SLOWER,
            ),
        ],
        notes=[
            "answers to the hostile calls: " + ", ".join(f"{n} × {status}" for status, n in sorted(answers.items()))
        ],
    )
