"""Reads the Procfile: the one list of processes, for operators to read and for the launcher to run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from string import Template

from honcho.environ import parse_procfile

from mlplatform.run.problems import LaunchError

_IGNORED = re.compile(r"\s*(#.*)?")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


class Tier(StrEnum):
    """Processes that start and stop together. They start downwards in this list and stop upwards."""

    REDIS = "redis"
    WORKERS = "workers"
    FACES = "faces"


_FACES = {"web", "grpc"}
_WEB = re.compile(r"web(-\d+)?")


@dataclass(frozen=True, slots=True)
class Program:
    """One line of the Procfile with its variables filled in."""

    name: str
    argv: tuple[str, ...]
    spare: bool = False
    """Whether it is a free place that is only taken when another program of its kind is replaced."""

    @property
    def tier(self) -> Tier:
        """Redis ends last because the others need it to drain; faces first, so that nothing new comes in."""
        if self.name.startswith("redis-"):
            return Tier.REDIS
        return Tier.FACES if self.name in _FACES or is_web(self.name) else Tier.WORKERS


def is_web(name: str) -> bool:
    """Whether a program is one of the web processes."""
    return _WEB.fullmatch(name) is not None


def with_web_processes(programs: Iterable[Program], number: int) -> tuple[Program, ...]:
    """The programs with so many web processes, ``web``, ``web-2`` and so on, and one place more for the restart of one."""
    made: list[Program] = []
    for program in programs:
        made.append(program)
        if program.name == "web":
            places = range(2, number + 2)
            made.extend(replace(program, name=f"web-{place}", spare=place > number) for place in places)
    return tuple(made)


def read(text: str, environ: Mapping[str, str]) -> tuple[Program, ...]:
    """Return the programs in the order of the file.

    Raises LaunchError for a line that is none (honcho would pass over it and the process would just be
    missing), for a name that comes twice and for a variable that is not set.
    """
    try:
        processes: Mapping[str, str] = parse_procfile(text).processes
    except AssertionError as error:
        raise LaunchError(f"Procfile: {error}.") from error
    meant = [line for line in text.splitlines() if not _IGNORED.fullmatch(line)]
    if len(meant) != len(processes):
        wrong = next(line for line in meant if not parse_procfile(line).processes)
        raise LaunchError(f"Procfile: this line is not `name: command`: {wrong!r}.")
    return tuple(Program(name=name, argv=_arguments(name, command, environ)) for name, command in processes.items())


def variables(text: str) -> frozenset[str]:
    """Return the names of the variables that the commands use."""
    lines = (line for line in text.splitlines() if not _IGNORED.fullmatch(line))
    return frozenset(braced or bare for line in lines for braced, bare in _VARIABLE.findall(line))


def _arguments(name: str, command: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Split first and fill in afterwards, so that a folder with spaces stays one argument."""
    try:
        return tuple(Template(part).substitute(environ) for part in shlex.split(command))
    except KeyError as error:
        raise LaunchError(f"Procfile: {name} uses ${error.args[0]}, which is not set.") from error
    except ValueError as error:
        raise LaunchError(f"Procfile: the command of {name} cannot be read: {error}.") from error
