"""Looks after the running processes: says what died, what came back and what was logged as bad."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from mlplatform.run.console import Console
from mlplatform.run.log_files import LogTail, is_bad
from mlplatform.run.processes import ProcessState, Supervision

RETRY_FAILED_S = 30.0
"""supervisord gives up on a process that keeps dying; the launcher tries it again after this long."""

_LINES_AT_ONCE = 5
_EVENT = re.compile(r"^\S+ \S+ (?P<level>[A-Z]+) (?P<text>.*)$")
_DIED = re.compile(r"^exited: (?P<name>\S+) \((?P<how>.*?); not expected\)")
_BACK = re.compile(r"^success: (?P<name>\S+) entered RUNNING")
_STOPPED = re.compile(r"^stopped: (?P<name>\S+) \((?P<how>.*)\)")
_KILLING = re.compile(r"^killing '(?P<name>\S+)' \(\d+\) with SIGKILL")


class Watch:
    """Turns logs and states into single lines on the console."""

    def __init__(self, *, console: Console, supervision: Supervision, names: Sequence[str], logs: Path) -> None:
        self._console = console
        self._supervision = supervision
        self._events = LogTail(supervision.log)
        self._logs = {name: logs / f"{name}.log" for name in names}
        self._tails: dict[str, LogTail] = {}
        self._dead: set[str] = set()
        self._failed_at: dict[str, float] = {}

    def begin(self) -> None:
        """Leave out what was logged until now: a start that succeeded needs no comment."""
        self._tails = {name: LogTail(path) for name, path in self._logs.items()}

    def look(self, states: Sequence[ProcessState]) -> None:
        """Say what happened since the last look, and try again what supervisord gave up on."""
        for line in self._events.new_lines():
            self._tell_event(line)
        for name, tail in self._tails.items():
            bad = [line for line in tail.new_lines() if is_bad(line)]
            for line in bad[:_LINES_AT_ONCE]:
                self._console.say(f"{name}: {line}")
            if len(bad) > _LINES_AT_ONCE:
                self._console.say(f"{name}: … and {len(bad) - _LINES_AT_ONCE} more such lines in {tail.path}")
        for name in self._supervision.sweep_orphans(states):
            self._console.say(f"{name}: ended the children that its killed process had left.")
        for state in states:
            self._retry(state)

    def look_at_drain(self) -> None:
        """Say what has stopped since the last look."""
        for line in self._events.new_lines():
            text = _text(line)
            if stopped := _STOPPED.match(text):
                self._console.step(f"{stopped['name']} has stopped")
            elif killing := _KILLING.match(text):
                self._console.step(f"{killing['name']} did not drain in time and is killed")

    def _tell_event(self, line: str) -> None:
        text = _text(line)
        if died := _DIED.match(text):
            name = died["name"]
            self._dead.add(name)
            log = self._logs.get(name, self._supervision.log)
            self._console.say(f"{name} died ({died['how']}) and is started again. Its log: {log}")
        elif (back := _BACK.match(text)) and back["name"] in self._dead:
            self._dead.discard(back["name"])
            self._console.say(f"{back['name']} is back.")

    def _retry(self, state: ProcessState) -> None:
        if not state.failed:
            self._failed_at.pop(state.name, None)
            return
        now = time.monotonic()
        since = self._failed_at.get(state.name)
        if since is None:
            self._failed_at[state.name] = now
            self._console.say(f"{state.name} keeps dying; the next try is in {RETRY_FAILED_S:.0f} s.")
        elif now - since >= RETRY_FAILED_S:
            self._failed_at.pop(state.name)
            self._supervision.start_process(state)


def _text(line: str) -> str:
    event = _EVENT.match(line)
    return "" if event is None else event["text"]
