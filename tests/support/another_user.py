"""What another user of the machine can do: Python as the user ``nobody``, which only root can start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user of the machine")


def can_read(path: Path) -> bool:
    """Whether the user may open the file, or list the folder."""
    return _succeeds(f"os.scandir({str(path)!r}) if {path.is_dir()} else open({str(path)!r}, 'rb')")


def can_connect(path: Path) -> bool:
    """Whether the user reaches what listens on a Unix socket."""
    return _succeeds(f"socket.socket(socket.AF_UNIX).connect({str(path)!r})")


def can_do_anything() -> bool:
    """Whether Python runs as that user at all, without which every refusal would prove nothing."""
    return _succeeds(f"assert os.getuid() == {_NOBODY}; os.scandir('/')")


def _succeeds(code: str) -> bool:
    # It becomes that user when it runs already: Python itself may lie in a folder that is closed to others.
    become = f"import os, socket; os.setgroups([]); os.setresgid(*[{_NOBODY}] * 3); os.setresuid(*[{_NOBODY}] * 3)"
    done = subprocess.run(
        [sys.executable, "-ISc", f"{become}; {code}"], cwd="/", capture_output=True, text=True, check=False
    )
    refused = "PermissionError" in done.stderr
    assert done.returncode == 0 or refused, done.stderr
    return not refused
