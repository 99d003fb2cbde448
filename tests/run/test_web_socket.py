"""The launcher's listening socket: handed to each web process that asks, and kept when none has it any more."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mlplatform.http import listening
from mlplatform.run import environment, web_socket
from tests.support.redis_server import free_port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("deep", [False, True])
def test_it_outlives_the_processes_that_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, deep: bool
) -> None:
    port = free_port()
    data_dir = tmp_path / ("deep" * 30 if deep else "data")
    plan = environment.read({"DATA_DIR": str(data_dir), "WEB_HOST": host, "WEB_PORT": str(port)})
    plan.run_dir.mkdir(parents=True)
    with web_socket.held(plan) as held:
        monkeypatch.setenv(listening.HOLDER, str(held.holder))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port))
        first = listening.taken("ignored", 1)
        first.listen(8)
        second = listening.taken("ignored", 1)
        assert first.getsockname()[:2] == second.getsockname()[:2] == (host, port)
        first.close()
        second.close()
        with socket.create_connection((host, port)) as client:  # It waits for the next process.
            third = listening.taken("ignored", 1)
            accepted, _ = third.accept()
            accepted.sendall(b"x")
            assert client.recv(1) == b"x"
            accepted.close()
        held.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port))
        third.close()
    assert not held.holder.exists()


def test_a_process_without_the_launcher_has_a_socket_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(listening.HOLDER, raising=False)
    with listening.taken("127.0.0.1", 0) as taken:
        taken.listen(1)
        with pytest.raises(OSError, match="in use"):
            listening.taken("127.0.0.1", taken.getsockname()[1])
