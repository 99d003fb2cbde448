"""The web processes are replaced, and die, under load: no call is refused, and none breaks that was not on a killed process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mlplatform.run.environment import ROOT
from tests.run.rolling import roll_and_kill
from tests.support.product import Product

pytestmark = pytest.mark.processes


@pytest.mark.soak
def test_rolling_restarts_and_deaths_of_two_processes(tmp_path: Path) -> None:
    with Product(tmp_path / "data", WEB_WORKERS="2") as product:
        product.start()
        roll_and_kill(product, number=2)
        product.signal(signal.SIGTERM)
        assert product.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(product.environ["WEB_PORT"])))


def test_there_is_nothing_to_restart(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mlplatform.run.restart_web"],
        cwd=ROOT, env={"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "make run" in done.stderr
    assert "Traceback" not in done.stderr
