"""A tenant's hostile model, called through real processes: its own calls fail, and no other notices."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from mlplatform.run.environment import ROOT
from tests.processes.conftest import Client, assert_none_failed, listening
from tests.support import hostile
from tests.support.http import Answer, Load
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("stack")]


def push(stack: Stack, folder: Path, *, owner: str) -> None:
    """By staff, who may push any tokenizer; it is live when this returns."""
    command = [sys.executable, "manage.py", "model", "push", str(folder), "--owner", owner, "--promote"]
    done = subprocess.run(
        command, cwd=ROOT, env=stack.environ | {"REDIS_TIMEOUT_S": "5"}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def predict(stack: Stack, client: Client, model: str, text: str) -> Answer:
    return stack.webs[0].predict(client.secret, text, model=model)


def test_it_hurts_its_own_calls_alone(stack: Stack, client: Client, new_client: object, tmp_path: Path) -> None:
    slug = stack.shell("slug", tenant_id=client.tenant_id)
    for name, parts in {"panics": hostile.PANICKING, "hangs": hostile.HANGING, "grows": hostile.GROWING}.items():
        hostile.write_package(tmp_path / name, parts, name=name)
    neighbour: Client = new_client()  # type: ignore[operator]
    with stack.private_worker() as worker:
        until(lambda: stack.shell("workers"), lambda seen: len(seen) == 2)
        for name in ("panics", "hangs", "grows"):
            push(stack, tmp_path / name, owner=slug)
        assert listening(worker.tree()) == set()
        starts, shared_starts = worker.starts, stack.gpu_worker.starts
        with Load(stack.webs[:1], neighbour.secret, clients=2, about="hostile models beside") as load:
            statuses = [
                (name, predict(stack, client, name, text).status)
                for name, text in [
                    ("panics", hostile.PANICS),
                    ("hangs", hostile.HANGS),
                    ("grows", hostile.GROWS),
                    ("panics", hostile.HARMLESS),
                    ("hangs", hostile.HANGS),
                    ("grows", hostile.GROWS),
                ]
            ]
            assert statuses == [
                ("panics", 422), ("hangs", 422), ("grows", 422), ("panics", 200), ("hangs", 422), ("grows", 422),
            ]  # fmt: skip
            # Twice was enough; a panic ends no process and breaks no limit.
            for name in ("hangs", "grows"):
                until(partial(predict, stack, client, name, hostile.HARMLESS), lambda answer: answer.status == 404)
            assert predict(stack, client, "panics", hostile.HARMLESS).status == 200
            until(lambda: len(load.answers), lambda seen: seen > 50)
        assert_none_failed(load)
        assert (worker.starts, stack.gpu_worker.starts) == (starts, shared_starts), "no worker was lost"
        assert stack.shell("versions", model="hangs") == {"1.0.0": "retired"}
