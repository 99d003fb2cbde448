"""A worker's name: its own among those of the machine, and the same after it was killed and started again."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from inference.worker import worker_name

HOST = socket.gethostname()


@pytest.fixture(autouse=True)
def places(tmp_path: Path, settings: Settings) -> Iterator[None]:
    settings.DATA_DIR = tmp_path
    yield
    worker_name.let_go()


def test_each_worker_of_a_pool_has_a_place_of_its_own() -> None:
    assert [worker_name.claim("gpu"), worker_name.claim("gpu"), worker_name.claim("large")] == [
        f"gpu-1@{HOST}", f"gpu-2@{HOST}", f"large-1@{HOST}",
    ]  # fmt: skip


def test_a_place_is_free_again_when_its_process_was_killed(tmp_path: Path) -> None:
    (tmp_path / "run" / "workers").mkdir(parents=True)
    hold = (
        "import fcntl, os, sys, time; handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT);"
        "fcntl.flock(handle, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"
    )
    path = tmp_path / "run" / "workers" / "gpu-1.lock"
    with subprocess.Popen([sys.executable, "-c", hold, path], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert worker_name.claim("gpu") == f"gpu-2@{HOST}"
        other.kill()
        other.wait()
    assert worker_name.claim("gpu") == f"gpu-1@{HOST}"


def test_a_name_that_was_given_is_taken(settings: Settings) -> None:
    settings.WORKER_NAME = "blue"
    assert worker_name.claim("gpu") == f"blue@{HOST}"


def test_without_a_folder_for_places_the_process_names_it(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a folder should be")
    assert worker_name.claim("gpu").startswith(f"gpu@{HOST}:")
