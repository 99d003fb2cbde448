"""How soon customers are told that usage cannot be checked, while the state Redis stands still or is unreachable."""

import http.client
import json
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Final

import psutil

from bench import client
from bench.client import Job
from bench.product import Product
from bench.results import Result, Target

NAME: Final = "outage"
_TEXT: Final = "It rained all day."
_CLIENTS: Final = 8
_CALLS: Final = 15
_TARGET_MS: Final = 250.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """What clients saw during one kind of outage: answers by status, and milliseconds of each."""

    statuses: dict[int, int]
    milliseconds: list[float]

    def at(self, share: float) -> float:
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run(product: Product) -> Result:
    """A state Redis that is stopped (SIGSTOP), so that it takes commands and never answers, then goes on."""
    job = Job(
        port=product.port, headers=product.headers, texts=[_TEXT], connections=1, requests=1, cached=True, seconds=10
    )
    _until_answered(job)
    server = psutil.Process(product.state.pid())
    server.send_signal(signal.SIGSTOP)
    try:
        stopped = _load(product)
    finally:
        server.send_signal(signal.SIGCONT)
    started = perf_counter()
    _until_answered(job)
    back_s = perf_counter() - started
    worst = max(stopped.milliseconds)
    only_503 = set(stopped.statuses) == {503}
    return Result(
        scenario=NAME,
        what=f"{_CLIENTS} clients, {_CALLS} cached calls each, while the state Redis is stopped by SIGSTOP.",
        table=[
            ["answers", "p50 ms", "p99 ms", "longest ms"],
            [
                ", ".join(f"{number} × {status}" for status, number in stopped.statuses.items()),
                f"{stopped.at(0.5):.0f}",
                f"{stopped.at(0.99):.0f}",
                f"{worst:.0f}",
            ],
        ],
        targets=[
            Target(f"503 within {_TARGET_MS:.0f} ms", f"{worst:.0f} ms (longest)", only_503 and worst <= _TARGET_MS)
        ],
        notes=[f"after it went on, a call was answered again within {back_s:.1f} s, without a restart"],
    )


def _load(product: Product) -> _Seen:
    statuses: dict[int, int] = {}
    milliseconds: list[float] = []
    lock = threading.Lock()

    def work() -> None:
        for _ in range(_CALLS):
            status, taken = _call(product)
            with lock:
                statuses[status] = statuses.get(status, 0) + 1
                milliseconds.append(taken)

    _together(work)
    return _Seen(statuses, milliseconds)


def _call(product: Product) -> tuple[int, float]:
    connection = http.client.HTTPConnection("127.0.0.1", product.port, timeout=10)
    body = json.dumps({"model": "sentiment", "input": _TEXT})
    started = perf_counter()
    try:
        connection.request("POST", "/v2/predict", body, {**product.headers, "Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, (perf_counter() - started) * 1000
    finally:
        connection.close()


def _together(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _until_answered(job: Job, *, patience_s: float = 20.0) -> None:
    """Raises RuntimeError when nothing was answered from the cache in time."""
    give_up = perf_counter() + patience_s
    while True:
        try:
            client.run(job)
        except RuntimeError:
            if perf_counter() > give_up:
                raise
            sleep(0.2)
        else:
            return
