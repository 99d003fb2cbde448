"""Patience with a process: one that waits for a processor is given more time, and only so much."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from inference.isolation.patience import Patience
from tests.support.waiting import until

SPINS = "import os\nos.sched_setaffinity(0, {%d})\nprint(flush=True)\nwhile True: pass"


def spinning(core: int, *, nice: int) -> subprocess.Popen[bytes]:
    command = ["nice", "-n", str(nice), sys.executable, "-c", SPINS % core]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.fixture
def core() -> int:
    return min(os.sched_getaffinity(0))


@pytest.fixture
def starved(core: int) -> Iterator[int]:
    """A niced process that never waits for anything but a processor, which three others want too."""
    processes = [spinning(core, nice=19), *(spinning(core, nice=0) for _ in range(3))]
    yield processes[0].pid
    for process in processes:
        process.kill()
        process.communicate()


def test_a_process_that_waits_for_a_processor_is_given_more_time(starved: int) -> None:
    patience = Patience(starved, 0.5)
    time.sleep(1.0)
    assert patience.left_s() > 0.0


def test_but_not_for_ever(starved: int) -> None:
    patience = Patience(starved, 0.1)
    until(patience.left_s, lambda left: left == 0.0, within_s=30)


def test_a_process_that_waits_for_something_else_has_its_limit_and_no_more(core: int) -> None:
    process = spinning(core, nice=0)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        patience = Patience(process.pid, 2.0)
        assert 0.0 < patience.left_s() <= 2.0
        time.sleep(2.1)
        assert patience.left_s() == 0.0
    finally:
        process.kill()
        process.communicate()


def test_a_process_that_is_gone_has_the_limit_on_the_clock() -> None:
    patience = Patience(2**22 + 1, 0.05)
    time.sleep(0.1)
    assert patience.left_s() == 0.0
