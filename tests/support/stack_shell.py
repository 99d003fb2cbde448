"""Python with a stack's settings in a process of its own, as an operator's shell: services are called by name there.

The test process has settings, databases and Redis clients of its own, which must not mix with those of the stack.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlplatform.run.environment import ROOT


class Shell:
    """Calls the functions of ``tests.support.stack_services`` in the child; results are JSON values."""

    def __init__(self, environ: Mapping[str, str], *, log: Path) -> None:
        self._lock = threading.Lock()
        with log.open("ab") as errors:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.support.stack_services"],
                cwd=ROOT,
                # It looks on at a machine that tests keep busy, and is no part of what they show.
                env={**environ, "REDIS_TIMEOUT_S": "5"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def __call__(self, service: str, **arguments: Any) -> Any:
        """The service's result; raises RuntimeError with the child's error."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with self._lock:
            self._child.stdin.write(json.dumps([service, arguments]) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        if not line:
            raise RuntimeError("the stack's shell ended; its log is shell.log")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(f"{service}: {reply['error']}")
        return reply["result"]

    def close(self) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
