"""Clients of other makers, run from the environment of ``requirements-clients.txt``, which ``make test`` installs.

A script of the tests runs there with that environment's Python: it imports nothing of this project, reads its calls as JSON
from standard input, and writes as JSON what came of each.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PYTHON = Path(os.environ.get("CLIENTS_VENV") or Path(sys.prefix) / "clients") / "bin" / "python"

needs_clients = pytest.mark.skipif(not PYTHON.exists(), reason=f"{PYTHON} is not there; `make install-test` makes it")


def run(script: Path, *arguments: str, calls: Any) -> Any:
    """What the script says of the calls. It fails with the script's own words."""
    done = subprocess.run(
        [str(PYTHON), str(script), *arguments],
        input=json.dumps(calls),
        # Nothing of ours is to be found, no proxy is to be asked, and no client is to look for a newer self.
        env={"PATH": os.environ.get("PATH", ""), "NO_PROXY": "*", "LANGSMITH_TRACING": "false"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
