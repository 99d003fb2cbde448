"""Both sides of a comparison get one core to compute and one to speak HTTP."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import cores


@given(st.sets(st.integers(0, 255), min_size=1))
def test_every_role_has_cores_and_the_two_that_matter_share_none_where_there_are_two(available: set[int]) -> None:
    split = cores.split(available)
    assert split.worker <= available
    assert split.web <= available
    assert split.rest <= available
    assert len(split.worker) == len(split.web) == 1
    assert split.rest
    if len(available) > 1:
        assert not split.worker & (split.web | split.rest)
    if len(available) > 2:
        assert not split.web & split.rest


def test_no_core_is_an_error() -> None:
    with pytest.raises(ValueError, match="no core"):
        cores.split(set())


def test_all_threads_are_pinned_and_get_their_cores_back() -> None:
    everything = os.sched_getaffinity(0)
    code = "import threading, sys; threading.Thread(target=sys.stdin.read).start(); print('up', flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with cores.pinned({"model": [process.pid]}, worker="model", web="web") as split:
            assert os.sched_getaffinity(0) == set(split.rest)
            assert _of_threads(process.pid) == [set(split.worker)] * 2
        assert _of_threads(process.pid) == [everything] * 2
        assert process.stdin is not None
        process.stdin.close()
    assert os.sched_getaffinity(0) == everything


def _of_threads(pid: int) -> list[set[int]]:
    return [os.sched_getaffinity(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()]


def test_a_process_that_ended_is_no_error() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    everything = os.sched_getaffinity(0)
    cores.pin(process.pid, {min(everything)})
    assert os.sched_getaffinity(0) == everything, "nor is anything else pinned in its place"
