"""Brings the database and the demo up to date: six management commands in one process.

Run as ``python -m mlplatform.run.setup_steps <fd>``. One Django start-up instead of six is most of what a
second start saves. Each step is announced on the file descriptor as one JSON line, so that the launcher can
show progress; everything else goes to stdout and stderr, which the launcher keeps in ``logs/setup.log``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import django
from django.core.management import call_command


@dataclass(frozen=True, slots=True)
class Step:
    """A management command and how the launcher announces it."""

    command: str
    title: str
    options: tuple[str, ...] = ()


ADOPTED: Final = os.environ.get("ADOPT_REDIS", "")
"""The id of the installation whose Redis this one takes over, deliberately; see ``docs/settings.md``."""

STEPS = (
    Step("collect_static", "Gathering the static files"),  # before the web processes start, which is after migrate
    Step("migrate", "Bringing the database up to date", ("--no-input",)),
    Step("installation", "Comparing whose the Redis is", ("adopt", ADOPTED) if ADOPTED else ("check",)),
    Step("sync_roles", "Writing the staff roles"),
    Step("install_demo_models", "Installing the demo models"),
    Step("seed_demo", "Seeding the demo data"),
)


def perform(steps: Sequence[Step], announce: Callable[[dict[str, str]], None]) -> int:
    """Run the steps in order; return 0, or 1 after announcing which failed and why in one line."""
    step = Step("setup", "Loading the settings")
    try:
        announce({"begin": step.command, "title": step.title})
        django.setup()
        for step in steps:
            announce({"begin": step.command, "title": step.title})
            print(f"--- {step.command}", flush=True)
            call_command(step.command, *step.options)
            announce({"done": step.command})
    except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever it was, people get one line and the log the rest)
        traceback.print_exc()
        sys.stdout.flush()
        reason = (str(error).strip().splitlines() or [""])[0]
        announce({"failed": step.command, "reason": f"{type(error).__name__}: {reason}"})
        return 1
    return 0


def main(descriptor: int) -> int:
    """Perform every step and announce on the file descriptor."""
    with os.fdopen(descriptor, "w", encoding="utf-8") as channel:

        def announce(event: dict[str, str]) -> None:
            channel.write(json.dumps(event) + "\n")
            channel.flush()

        return perform(STEPS, announce)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
