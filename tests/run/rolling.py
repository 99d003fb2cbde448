"""Web processes that are replaced, and die, under load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

from mlplatform.run.environment import ROOT
from tests.support.http import Http
from tests.support.keep_alive import KeepAliveLoad
from tests.support.product import Product

TEXT = json.dumps({"model": "sentiment", "input": "What a wonderful morning!"}).encode()
RESTARTS = int(os.environ.get("RESTARTS", "3"))


def load_on(product: Product) -> KeepAliveLoad:
    key = product.demo()["tenants"]["acme"]["api_key"]
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    return KeepAliveLoad(int(product.environ["WEB_PORT"]), "/v2/predict", TEXT, headers, clients=4)


def restart(product: Product) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mlplatform.run.restart_web"],
        cwd=ROOT, env=product.environ, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def web_pids(product: Product) -> set[int]:
    return {pid for pid, command in product.processes().items() if "mlplatform.http" in command}


def roll_and_kill(product: Product, *, number: int) -> None:
    """Replace the web processes of a running product a few times under load, then kill two of them within seconds."""
    with load_on(product) as load:
        for _ in range(RESTARTS):
            before = web_pids(product)
            done = restart(product)
            assert done.returncode == 0, done.stdout + done.stderr
            after = web_pids(product)
            assert len(before) == len(after) == number
            assert not before & after
    assert load.failures == []
    counted = Counter(load.statuses)
    print(f"{number} web processes, {RESTARTS} restarts: {counted}, {load.connections} connections")
    assert counted.keys() <= {200, 429, 503}
    assert counted[503] <= load.clients + counted.total() // 200, "a busy machine's Redis may be late"
    assert counted.total() > 100

    die_twice_within_seconds(product, number)


def die_twice_within_seconds(product: Product, number: int) -> None:
    """New connections are never refused: with one process they wait for the next one."""
    web = Http(int(product.environ["WEB_PORT"]))
    answers = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.02):
            answers.append(web.get("/livez"))

    asking = threading.Thread(target=ask)
    asking.start()
    untouched = max(web_pids(product))
    for _ in range(2):
        victim = (web_pids(product) - {untouched} if number > 1 else web_pids(product)).pop()
        os.kill(victim, signal.SIGKILL)
        until = time.monotonic() + 60.0
        while len(web_pids(product) - {victim}) < number and time.monotonic() < until:
            time.sleep(0.05)
    time.sleep(1.0)
    stop.set()
    asking.join()
    assert not [answer for answer in answers if "refused" in answer.text.lower()]
    broken = [answer for answer in answers if answer.status != 200]
    assert len(broken) <= 2, "at most what a killed process had taken"
    if number > 1:
        assert untouched in web_pids(product)
        assert sum(answer.took_s >= 2.0 for answer in answers) <= 2, "a busy machine may let one wait"
        assert max(answer.took_s for answer in answers) < 5.0
    assert restart(product).returncode == 0
