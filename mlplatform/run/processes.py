"""Talks to supervisord, which keeps the processes: starts it, asks it, and drains it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from supervisor.xmlrpc import SupervisorTransport

from mlplatform.run import leftovers, private_files, supervisor_conf
from mlplatform.run.environment import LaunchPlan
from mlplatform.run.problems import LaunchError
from mlplatform.run.procfile import Program, Tier, is_web
from mlplatform.run.supervisor_conf import STOP_WAIT_S, Control

# The kernel allows 104 to 108 bytes, and supervisord binds a name with its process id appended first.
_LONGEST_SOCKET_PATH = 88
_START_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What supervisord knows about one process."""

    name: str
    tier: Tier
    state: str
    """STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED or FATAL."""
    pid: int
    """0 while it does not run."""
    spare: bool = False
    """Whether it is a free place, which nothing waits for."""

    @property
    def failed(self) -> bool:
        """Whether supervisord gave up on it."""
        return self.state == "FATAL"


class Supervision:
    """The supervisord of one run and the programs under it."""

    def __init__(self, plan: LaunchPlan, programs: Sequence[Program]) -> None:
        self._plan = plan
        self._programs = {program.name: program for program in programs}
        self._tiers = {program.tier for program in programs}
        self._short: Path | None = None
        self._control = Control(socket=self._socket_path(), password=secrets.token_hex(16))
        self._child: subprocess.Popen[bytes] | None = None
        self._pids: dict[str, int] = {}

    @property
    def log(self) -> Path:
        """What supervisord itself writes."""
        return self._plan.log_dir / "supervisord.log"

    @property
    def alive(self) -> bool:
        """Whether supervisord runs."""
        return self._child is not None and self._child.poll() is None

    def start(self, *, stop_requested: Callable[[], bool]) -> None:
        """Start supervisord and wait until it listens; raises LaunchError when it does not."""
        conf = self._plan.run_dir / "supervisord.conf"
        text = supervisor_conf.render(
            programs=list(self._programs.values()),
            control=self._control,
            root=self._plan.root,
            run_dir=self._plan.run_dir,
            log_dir=self._plan.log_dir,
            as_root=os.geteuid() == 0,
        )
        private_files.write(conf, text)
        output = self._plan.log_dir / "supervisord.out"
        with output.open("wb") as out:
            # In a session of its own Ctrl-C at the terminal reaches the launcher alone, which then drains.
            self._child = subprocess.Popen(  # noqa: S603 (our own module)
                [sys.executable, "-m", leftovers.KEEPER, str(conf), str(os.getpid())],
                env=dict(self._plan.environ),
                cwd=self._plan.root,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        give_up = time.monotonic() + _START_TIMEOUT_S
        while not stop_requested():
            with contextlib.suppress(OSError, xmlrpc.client.Error):
                self._rpc().getState()
                return
            if not self.alive or time.monotonic() > give_up:
                reason = output.read_text(errors="replace").strip().splitlines()[-3:]
                raise LaunchError("\n".join(["supervisord did not start:", *reason, f"Its log: {self.log}"]))
            time.sleep(0.02)

    def start_tier(self, tier: Tier) -> None:
        """Start the processes of a tier without waiting for them; those that run are left alone."""
        for state in self.states():
            if state.tier is tier and state.pid == 0 and not state.spare:
                self.start_process(state)

    def start_process(self, state: ProcessState) -> None:
        """Start one process; a failure to do so shows in its state."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self._rpc().startProcess(f"{state.tier}:{state.name}", False)

    def states(self) -> tuple[ProcessState, ...]:
        """Return the state of every process; raises OSError when supervisord is gone."""
        return tuple(
            ProcessState(
                name=str(info["name"]),
                tier=Tier(info["group"]),
                state=str(info["statename"]),
                pid=int(info["pid"]),
                spare=self._programs[str(info["name"])].spare,
            )
            for info in self._rpc().getAllProcessInfo()
        )

    def web_pids(self) -> tuple[int, ...]:
        """The web processes that run; none where supervisord does not answer."""
        try:
            return tuple(state.pid for state in self.states() if state.pid and is_web(state.name))
        except (OSError, xmlrpc.client.Error):
            return ()

    def sweep_orphans(self, states: Sequence[ProcessState]) -> tuple[str, ...]:
        """Kill the children that a killed process left and return its name.

        Celery's children go on when their parent is killed. supervisord makes each program the leader of a
        process group, so the group's old number still reaches them.
        """
        orphaned = []
        for state in states:
            before = self._pids.get(state.name, 0)
            self._pids[state.name] = state.pid or before
            if before and state.pid != before and _kill_group(before):
                orphaned.append(state.name)
            if before and state.pid == 0:
                self._pids[state.name] = 0
        return tuple(orphaned)

    def stop(self, *, in_a_hurry: Callable[[], bool], tick: Callable[[], None]) -> tuple[str, ...]:
        """Drain: faces, then workers, then Redis; return the commands of what had to be killed.

        tick is called ten times a second, to show how it goes. in_a_hurry cuts the drain short.
        """
        child = self._child
        if child is not None:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
            until = time.monotonic() + sum(STOP_WAIT_S[tier] for tier in self._tiers) + 15
            while child.poll() is None and time.monotonic() < until and not in_a_hurry():
                tick()
                time.sleep(0.1)
            if child.poll() is None:
                child.kill()
            child.wait()
            tick()
        hurried = in_a_hurry()
        left = leftovers.end(self._plan.data_dir, patience_s=0.0 if hurried else 10.0)
        if self._short is not None:
            shutil.rmtree(self._short, ignore_errors=True)
        return tuple(one.command for one in left)

    def _socket_path(self) -> Path:
        path = self._plan.run_dir / "supervisor.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            self._short = Path(tempfile.mkdtemp(prefix="mlp-"))
            path = self._short / "s.sock"
        return path

    def _rpc(self) -> Any:
        return rpc_of(self._control)


def control_of(section: Mapping[str, str]) -> Control:
    """How to talk to a supervisord, by the section ``unix_http_server`` of its configuration; raises KeyError."""
    return Control(socket=Path(section["file"]), password=section["password"], username=section["username"])


def rpc_of(control: Control) -> Any:
    """supervisord's interface for remote calls."""
    transport = SupervisorTransport(control.username, control.password, f"unix://{control.socket}")
    proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=cast(Any, transport))
    return proxy.supervisor


def _kill_group(leader: int) -> bool:
    """Kill a process group; False when it is empty."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True
