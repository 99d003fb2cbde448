"""Renders supervisord.conf from the programs of the Procfile."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlplatform.run.problems import LaunchError
from mlplatform.run.procfile import Program, Tier

STOP_WAIT_S: Mapping[Tier, int] = {Tier.FACES: 40, Tier.WORKERS: 45, Tier.REDIS: 20}
"""How long a program of a tier may take to drain before it is killed."""

_PRIORITY = {Tier.REDIS: 10, Tier.WORKERS: 20, Tier.FACES: 30}
# supervisord's reader takes what follows a blank and one of these for a comment, quoted or not.
_COMMENT = re.compile(r"\s[;#]|[\r\n]")


@dataclass(frozen=True, slots=True)
class Control:
    """How the launcher talks to supervisord: a Unix socket of mode 700 and a secret of this run."""

    socket: Path
    password: str
    username: str = "launcher"


def render(
    *,
    programs: Sequence[Program],
    control: Control,
    root: Path,
    run_dir: Path,
    log_dir: Path,
    as_root: bool,
) -> str:
    """Return the text of the configuration. Every program is started by the launcher, none by itself.

    Raises LaunchError for a command that supervisord would read as a comment.
    """
    sections = [
        _section(
            "unix_http_server",
            {
                "file": str(control.socket),
                "chmod": "0700",
                "username": control.username,
                "password": control.password,
            },
        ),
        _section("rpcinterface:supervisor", {_FACTORY_OPTION: _FACTORY}),
        _section(
            "supervisord",
            {
                "nodaemon": "true",
                "silent": "true",
                "logfile": str(log_dir / "supervisord.log"),
                "logfile_maxbytes": "5MB",
                "logfile_backups": "2",
                "pidfile": str(run_dir / "supervisord.pid"),
                "directory": str(root),
                "umask": "077",
                # Said outright, because supervisord warns of a root that is not declared.
                **({"user": "root"} if as_root else {}),
            },
        ),
    ]
    sections.extend(_program(program, root=root, log_dir=log_dir) for program in programs)
    for tier in Tier:
        members = [program.name for program in programs if program.tier is tier]
        if members:
            sections.append(
                _section(f"group:{tier}", {"programs": ",".join(members), "priority": str(_PRIORITY[tier])})
            )
    return "; Written by the launcher at each start; change the Procfile instead.\n" + "\n".join(sections)


_FACTORY_OPTION = "supervisor.rpcinterface_factory"
_FACTORY = "supervisor.rpcinterface:make_main_rpcinterface"


def _program(program: Program, *, root: Path, log_dir: Path) -> str:
    return _section(
        f"program:{program.name}",
        {
            "command": shlex.join(program.argv),
            "directory": str(root),
            "autostart": "false",
            "autorestart": "true",
            # A program that dies sooner is tried again with growing pauses instead of in a tight loop.
            "startsecs": "3",
            "startretries": "5",
            "stopsignal": "TERM",
            "stopwaitsecs": str(STOP_WAIT_S[program.tier]),
            # TERM goes to the parent alone, because Celery drains its children itself; KILL,
            # when draining took too long, goes to all of them.
            "stopasgroup": "false",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": str(log_dir / f"{program.name}.log"),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "3",
        },
    )


def _section(name: str, options: Mapping[str, str]) -> str:
    lines = [f"[{name}]"]
    for option, value in options.items():
        if _COMMENT.search(value):
            raise LaunchError(f"Procfile: ' ;' and ' #' cannot be used in a command ({name}): {value!r}.")
        lines.append(f"{option} = {value.replace('%', '%%')}")
    return "\n".join(lines) + "\n"
