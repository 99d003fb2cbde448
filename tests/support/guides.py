"""Guides in ``docs/``: their shell and Python blocks run as a reader would run them, and their tables are read."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.suite import ROOT

_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```\n(?:\n```json\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def text_of(name: str) -> str:
    return (Path(ROOT) / "docs" / name).read_text()


def blocks(name: str) -> list[tuple[str, str, str]]:
    """Each block that runs: its language, its code, and the JSON that stands below it or nothing."""
    return [(language, code, promise) for language, code, promise in _BLOCK.findall(text_of(name))]


def run(language: str, code: str, environ: Mapping[str, str], *, programs: Path, cwd: Path | None = None) -> str:
    """What the block prints; fails when it fails. ``programs`` are those of the environment that the guide says (``venvs``)."""
    command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [str(programs / "python"), "-c", code]
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    done = subprocess.run(command, env={"PATH": path, **environ}, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def table(name: str, first: str) -> list[list[str]]:
    """The rows of the table whose head begins with ``first``, without backquotes."""
    lines = text_of(name).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
    return rows
