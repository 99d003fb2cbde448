"""The whole product as an operator meets it: started, used with the printed line, hurt, drained."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlplatform.run.environment import ROOT
from tests.run.rolling import roll_and_kill
from tests.support.grpc import Grpc
from tests.support.product import Product
from tests.support.redis_server import free_port

pytestmark = pytest.mark.processes


def printed_prediction(product: Product) -> dict[str, Any]:
    """Run the first curl line of the table as a newcomer would."""
    line = next(line for line in product.said().splitlines() if "/v2/predict" in line)
    answer = subprocess.run(shlex.split(line), capture_output=True, check=True, timeout=60)
    loaded: dict[str, Any] = json.loads(answer.stdout)
    return loaded


def eventually(condition: Any, *, seconds: float = 90) -> None:
    """Wait for a condition; fail when it does not come true."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come true in time"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One run for the tests of a product that works, in this order: the last one ends it."""
    # A folder with blanks that is too deep for a Unix socket's name.
    data_dir = tmp_path_factory.mktemp("run") / "a folder with blanks" / ("deep" * 20)
    data_dir.parent.mkdir()
    with Product(data_dir, WEB_WORKERS="1") as running:
        running.start()
        yield running


def test_the_printed_lines_work(product: Product) -> None:
    answer = printed_prediction(product)
    assert answer["model"] == "sentiment"
    assert answer["predictions"][0]["label"] == "positive"
    for secret in ("demo.json", "secret_key"):
        assert stat.S_IMODE((product.data_dir / secret).stat().st_mode) == 0o600
    key = product.demo()["tenants"]["acme"]["api_key"]
    assert key in product.said()
    with Grpc(f"127.0.0.1:{product.environ['GRPC_PORT']}", secret=key) as over_grpc:
        assert over_grpc.predict(model_name="sentiment", text="What a wonderful morning!").message.cached


def test_a_command_in_another_shell_needs_the_data_dir_alone(product: Product) -> None:
    beside = subprocess.run(
        [sys.executable, "manage.py", "installation", "show"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(product.data_dir),
            "DATABASE_URL": product.environ["DATABASE_URL"],
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    ports = json.loads((product.data_dir / "run" / "ports.json").read_text())
    own, state, cache = beside.stdout.splitlines()
    uid = own.removeprefix("SQL: ")
    assert state.startswith(f"the state Redis at 127.0.0.1:{ports['state']}/0 ")
    assert state.endswith(uid)
    assert cache.startswith(f"the cache Redis at 127.0.0.1:{ports['cache']}/0 ")
    assert cache.endswith(uid)


def test_a_second_run_of_the_same_data_dir_is_refused(product: Product) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "mlplatform.run"],
        cwd=ROOT,
        env=product.environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert "already runs" in second.stdout
    assert "Traceback" not in second.stdout + second.stderr


def test_a_killed_worker_comes_back(product: Product) -> None:
    killed = product.pid_of("gpu-worker")
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: product.pid_of("gpu-worker") != killed)
    eventually(lambda: "gpu-worker died" in product.said())
    eventually(lambda: printed_prediction(product).get("model") == "sentiment")


def test_rolling_restarts_and_deaths_of_one_web_process(product: Product) -> None:
    roll_and_kill(product, number=1)


def test_it_ends_in_order_and_leaves_nothing(product: Product) -> None:
    product.signal(signal.SIGTERM)
    assert product.wait() == 0
    assert product.processes() == {}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(product.environ["WEB_PORT"])))
    said = product.said()
    order = [said.index(f"{name} has stopped") for name in ("web", "gpu-worker", "redis-state")]
    assert order == sorted(order)
    assert said.index("grpc has stopped") < said.index("gpu-worker has stopped")
    assert "Traceback" not in said


def test_what_a_killed_launcher_left_is_ended_by_the_next_start(tmp_path: Path) -> None:
    with Product(tmp_path / "data") as product:
        product.launch()
        eventually(lambda: "Bringing the database" in product.said())
        product.signal(signal.SIGKILL)
        product.wait()
        # Without its kernel signal supervisord would go on as well; this is the worst case on every system.
        for pid, command in product.processes().items():
            if "mlplatform.run.supervised" in command:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        left = set(product.processes())

        product.launch()
        eventually(lambda: product.said().count("Bringing the database") == 2)
        assert not left & set(product.processes())
        product.signal(signal.SIGINT)
        assert product.wait() == 128 + signal.SIGINT
        assert product.processes() == {}


@pytest.mark.parametrize("variable", ["WEB_PORT", "GRPC_PORT"])
def test_a_port_in_use_is_one_line_and_starts_nothing(tmp_path: Path, variable: str) -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        Product(tmp_path / "data", **{variable: str(port)}) as product,
    ):
        product.launch()
        assert product.wait() == 1
        assert len(product.said().strip().splitlines()) == 1
        assert f"{port} on 127.0.0.1 is in use ({variable})" in product.said()
        assert product.processes() == {}


def test_a_step_that_fails_shows_the_end_of_its_log_and_leaves_nothing(tmp_path: Path) -> None:
    with Product(tmp_path / "data", DATABASE_URL="postgres://nobody@127.0.0.1:1/nowhere") as product:
        product.launch()
        assert product.wait() == 1
        assert "Setting up failed: `manage.py migrate` failed" in product.said()
        assert str(tmp_path / "data" / "logs" / "setup.log") in product.said()
        assert product.processes() == {}
