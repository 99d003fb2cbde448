"""Runs the setup steps in a process of their own and shows how they go."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mlplatform.run.console import Console, StopSwitch
from mlplatform.run.environment import LaunchPlan
from mlplatform.run.log_files import last_lines
from mlplatform.run.problems import LaunchError

_PATIENCE_S = 10.0


def run(
    plan: LaunchPlan, *, console: Console, switch: StopSwitch, done: Callable[[str], None] = lambda _: None
) -> None:
    """Run every setup step; done is called with the name of each command that succeeded.

    Raises LaunchError with the end of the log when a step fails, StopRequestedError when asked to stop.
    """
    log = plan.log_dir / "setup.log"
    reading, writing = os.pipe()
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 (our own module)
            [sys.executable, "-m", "mlplatform.run.setup_steps", str(writing)],
            env=dict(plan.environ),
            cwd=plan.root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
            start_new_session=True,
        )
    os.close(writing)
    reason = ""
    try:
        with os.fdopen(reading, "rb", buffering=0) as channel, selectors.DefaultSelector() as selector:
            selector.register(channel, selectors.EVENT_READ)
            pending = b""
            while True:
                switch.check()
                if not selector.select(timeout=0.1):
                    continue
                chunk = channel.read(65536)
                if not chunk:
                    break
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    reason = _show(json.loads(line), console=console, done=done) or reason
        while child.poll() is None and not switch.wait(0.05):
            continue
        switch.check()
    finally:
        _end(child)
    if child.returncode != 0:
        raise _failure(log, reason or f"it ended with status {child.returncode}")


def _show(event: dict[str, str], *, console: Console, done: Callable[[str], None]) -> str:
    """Print or pass on one announcement; return the reason when it is a failure."""
    if "begin" in event:
        console.step(event["title"])
    if "done" in event:
        done(event["done"])
    return f"`manage.py {event['failed']}` failed, {event['reason']}" if "failed" in event else ""


def _failure(log: Path, reason: str) -> LaunchError:
    return LaunchError("\n".join([f"Setting up failed: {reason}", *last_lines(log), f"The whole log: {log}"]))


def _end(child: subprocess.Popen[bytes]) -> None:
    """Leave no setup process behind. A migration that TERM cuts off is rolled back by its transaction."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
