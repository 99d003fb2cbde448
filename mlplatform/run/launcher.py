"""The order of a start and of a stop: everything else in this package is one of its steps."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlplatform.http.listening import HOLDER
from mlplatform.lib import processes
from mlplatform.run import (
    environment,
    leftovers,
    lock,
    preflight,
    private_files,
    procfile,
    readiness,
    redis_servers,
    secret_key,
    setup_runner,
    summary,
    web_socket,
)
from mlplatform.run.console import Console, StopSwitch
from mlplatform.run.environment import LaunchPlan
from mlplatform.run.log_files import last_lines
from mlplatform.run.problems import LaunchError, StopRequestedError
from mlplatform.run.processes import ProcessState, Supervision
from mlplatform.run.procfile import Tier
from mlplatform.run.redis_servers import ManagedRedis
from mlplatform.run.watch import Watch
from mlplatform.run.web_socket import WebSocket

REDIS_TIMEOUT_S = 60.0
"""A large append-only file takes a while to load."""
READY_TIMEOUT_S = 240.0
_STILL_WAITING_S = 5.0
_SLOWEST = "gpu-worker"
_FORMER_RUN_S = 120.0
_LOOK_S = 0.5


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run the product until it is told to stop; return the exit status."""
    os.umask(0o077)  # DATA_DIR holds secrets and customers' data.
    console, switch = Console(), StopSwitch()
    switch.install()
    try:
        plan = environment.read(environ)
        preflight.python_version()
        preflight.data_directory(plan.data_dir)
        for directory in (plan.run_dir, plan.log_dir, plan.static_dir):
            directory.mkdir(mode=0o700, exist_ok=True)
        with lock.held(plan.run_dir / "lock"):
            return _run(plan, console=console, switch=switch)
    except StopRequestedError:
        console.say("Stopped before the start was complete; nothing is left running.")
        return 128 + (switch.signal or 0)
    except LaunchError as problem:
        console.say(f"\n{problem}")
    except OSError as problem:
        # A full disk or a file that may not be read, anywhere on the way: say which, without a traceback.
        console.say(f"\n{problem.strerror or problem}: {problem.filename or plan_name(environ)}")
    return 1


def _clear_metrics(plan: LaunchPlan) -> None:
    """Empty the folder in which processes share their metrics: files of processes that are gone would count on."""
    shutil.rmtree(plan.metrics_dir, ignore_errors=True)
    plan.metrics_dir.mkdir(mode=0o700)


def plan_name(environ: Mapping[str, str]) -> str:
    """Name DATA_DIR for a message about an error that names no file."""
    return f"DATA_DIR {environ.get('DATA_DIR') or 'var'}"


def _run(plan: LaunchPlan, *, console: Console, switch: StopSwitch) -> int:
    _clear_former_run(plan, console)
    if private_files.close_to_others(plan.data_dir):
        console.step(f"DATA_DIR {plan.data_dir} was open to other users of this machine; it is closed now")
    text = (plan.root / "Procfile").read_text()
    preflight.check(plan)
    secret_key.ensure(plan.data_dir)
    _clear_metrics(plan)
    servers, variables = redis_servers.prepare(plan)
    with web_socket.held(plan) as web:
        plan = dataclasses.replace(plan, environ={**plan.environ, **variables, HOLDER: str(web.holder)})
        return _run_programs(plan, text, servers, web, console=console, switch=switch)


def _run_programs(
    plan: LaunchPlan,
    text: str,
    servers: Sequence[ManagedRedis],
    web: WebSocket,
    *,
    console: Console,
    switch: StopSwitch,
) -> int:
    managed = {server.program for server in servers}
    programs = [
        program
        for program in procfile.with_web_processes(procfile.read(text, plan.environ), int(plan.environ["WEB_WORKERS"]))
        if program.tier is not Tier.REDIS or program.name in managed
    ]
    supervision = Supervision(plan, programs)
    watch = Watch(
        console=console,
        supervision=supervision,
        names=[program.name for program in programs],
        logs=plan.log_dir,
    )
    try:
        supervision.start(stop_requested=lambda: switch.requested)
        switch.check()
        _start_redis(supervision, servers, plan=plan, console=console, switch=switch)
        _set_up(supervision, plan=plan, console=console, switch=switch)
        _wait_until_ready(supervision, plan=plan, console=console, switch=switch)
        watch.begin()
        console.say(summary.render(plan))
        return _stay(supervision, watch, switch=switch)
    finally:
        _drain(supervision, watch, web, console=console, switch=switch)


def _clear_former_run(plan: LaunchPlan, console: Console) -> None:
    """End what a launcher that was killed has left; the lock says that no launcher looks after it."""
    left = leftovers.find(plan.data_dir)
    if not left:
        return
    console.step(f"A former run was killed; ending the {len(left)} processes that it left")
    leftovers.drain(plan.data_dir, patience_s=_FORMER_RUN_S)
    leftovers.end(plan.data_dir, patience_s=10.0)


def _start_redis(
    supervision: Supervision,
    servers: Sequence[ManagedRedis],
    *,
    plan: LaunchPlan,
    console: Console,
    switch: StopSwitch,
) -> None:
    if not servers:
        return
    where = ", ".join(f"{server.role} on 127.0.0.1:{server.port}" for server in servers)
    console.step(f"Starting Redis: {where}")
    supervision.start_tier(Tier.REDIS)
    give_up = time.monotonic() + REDIS_TIMEOUT_S
    waiting = {server.program: server for server in servers}
    while waiting:
        switch.check()
        states = supervision.states()
        for state in states:
            server = waiting.get(state.name)
            if server is not None and state.pid and server.answers(state.pid):
                del waiting[state.name]
        _refuse_failed(states, plan.log_dir)
        if waiting and time.monotonic() > give_up:
            silent = next(iter(waiting))
            raise _failure(f"{silent} does not answer", plan.log_dir / f"{silent}.log")
        if waiting:
            switch.wait(0.02)


def _set_up(supervision: Supervision, *, plan: LaunchPlan, console: Console, switch: StopSwitch) -> None:
    """Set up and start the processes, those that need little before the setting up is complete.

    The workers load torch for seconds. When an earlier start has installed the models, they start as soon as
    the database is up to date and load beside the remaining steps.
    """
    set_up_before = plan.run_dir / "set_up_before"

    def done(command: str) -> None:
        if command == "migrate" and set_up_before.exists():
            _start_what_takes_long(supervision)

    setup_runner.run(plan, console=console, switch=switch, done=done)
    set_up_before.touch()
    console.step("Starting the web and gRPC processes and the workers")
    _start_what_takes_long(supervision)


def _start_what_takes_long(supervision: Supervision) -> None:
    """Start what readiness hangs on. The others follow when the web process answers, since a dozen seconds of
    CPU time go into one start and on a small machine they would only slow these down."""
    for state in supervision.states():
        if state.pid == 0 and not state.spare and (state.name == _SLOWEST or state.tier is Tier.FACES):
            supervision.start_process(state)


def _wait_until_ready(supervision: Supervision, *, plan: LaunchPlan, console: Console, switch: StopSwitch) -> None:
    began = said = time.monotonic()
    while True:
        switch.check()
        unready = readiness.waiting_for(plan.web_url)
        if unready != ("web",):
            supervision.start_tier(Tier.WORKERS)
        if not unready:
            unready = readiness.waiting_for_grpc(plan)
        states = supervision.states()
        _refuse_failed(states, plan.log_dir)
        waiting = unready or tuple(state.name for state in states if state.state != "RUNNING" and not state.spare)
        if not waiting:
            return
        now = time.monotonic()
        if now - began > READY_TIMEOUT_S:
            raise _failure(f"Still not ready: {', '.join(waiting)}", plan.log_dir / "web.log")
        if now - said > _STILL_WAITING_S:
            console.step(f"Waiting for: {', '.join(waiting)}")
            said = now
        switch.wait(0.15)


def _stay(supervision: Supervision, watch: Watch, *, switch: StopSwitch) -> int:
    """Keep looking until a stop is asked for; raises LaunchError when supervisord itself is gone."""
    while not switch.wait(_LOOK_S):
        try:
            watch.look(supervision.states())
        except OSError as error:
            if supervision.alive or switch.requested:
                continue
            raise _failure("supervisord died, so everything is being stopped", supervision.log) from error
    return 0


def _drain(supervision: Supervision, watch: Watch, web: WebSocket, *, console: Console, switch: StopSwitch) -> None:
    serving = supervision.web_pids()

    def tick() -> None:
        watch.look_at_drain()
        if not any(processes.runs(pid) for pid in serving):
            web.refuse()

    console.say("")
    console.step("Stopping; what is running is finished first, and Ctrl-C again ends it at once")
    killed = supervision.stop(in_a_hurry=lambda: switch.in_a_hurry, tick=tick)
    for command in killed:
        console.say(f"Also ended: {command[:120]}")
    console.step("Stopped; no process is left")


def _refuse_failed(states: Sequence[ProcessState], logs: Path) -> None:
    for state in states:
        if state.failed:
            raise _failure(f"{state.name} does not start", logs / f"{state.name}.log")


def _failure(what: str, log: Path) -> LaunchError:
    return LaunchError("\n".join([f"{what}:", *last_lines(log), f"The whole log: {log}"]))
