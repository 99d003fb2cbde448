"""Two workers of one pool on one machine: one is killed under load, one is drained by staff, and no caller notices."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.processes.conftest import Client, assert_charged_exactly, assert_none_failed, assert_right
from tests.support.http import Load
from tests.support.stack import Process, Stack
from tests.support.waiting import until

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("stack")]


@pytest.fixture
def second(stack: Stack) -> Iterator[Process]:
    """The second worker, alive beside the first."""
    stack.wait_until_ready()
    with stack.another_gpu_worker() as process:
        until(lambda: stack.shell("workers"), lambda seen: len(seen) == 2)
        yield process
    until(lambda: stack.shell("workers"), lambda seen: len(seen) == 1)


def named(stack: Stack, process: Process) -> str:
    """What the worker of this process calls itself."""

    def names() -> list[str]:
        return [name for name, said in stack.shell("workers").items() if said["pid"] == process.pid]

    return until(names, bool)[0]


def test_a_worker_killed_beside_another_fails_no_call_and_charges_none_twice(
    stack: Stack, client: Client, second: Process
) -> None:
    before = stack.shell("workers")
    assert len({name.partition("@")[0] for name in before}) == 2
    with Load(stack.webs[:1], client.secret, clients=6, about="kill one of two") as load:
        until(
            lambda: stack.shell("workers"),
            lambda seen: all(said["batches"] > before[name]["batches"] + 3 for name, said in seen.items()),
        )
        killed_at = time.monotonic()
        second.kill()
        # Longer than a lost batch is waited for, so that its calls are among those that are looked at.
        until(time.monotonic, lambda now: now > killed_at + 3.0)
        until(lambda: len(load.since(killed_at)), lambda answers: answers >= 50)
    assert_none_failed(load)
    assert_charged_exactly(stack, client, list(load.answers.values()))
    # Those that were under way or came soon after; each is computed here once more, alone.
    near = {text: one for text, one in load.answers.items() if one.began_at + one.took_s > killed_at}
    assert_right(dict(list(near.items())[:40]))


def test_a_drained_worker_takes_nothing_until_it_is_let_back(stack: Stack, client: Client, second: Process) -> None:
    name = named(stack, second)

    def said() -> dict[str, Any]:
        seen: dict[str, Any] = until(lambda: stack.shell("workers").get(name), bool)
        return seen

    with Load(stack.webs[:1], client.secret, clients=6, about="drain one of two") as load:
        until(said, lambda seen: seen["batches"] > 3)
        stack.shell("drain", worker=name)
        try:
            until(lambda: "Canceling queue gpu" in second.text(), bool)
            answered = load.statuses()[200]
            done = until(said, lambda seen: seen["draining"])
            until(load.statuses, lambda seen: seen[200] >= answered + 60)
            # At most the batch that it had taken when the order came.
            assert said()["batches"] <= done["batches"] + 1
        finally:
            stack.shell("undrain", worker=name)
        rested = said()["batches"]
        until(said, lambda seen: not seen["draining"] and seen["batches"] > rested + 3)
    assert_none_failed(load)
    assert_charged_exactly(stack, client, list(load.answers.values()))
    second.terminate()
    assert second.wait() == 0
