"""Another process of the product, on the test's database and Redis servers: what it holds in memory is its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from django.db import connection

from mlplatform.lib import database_url
from tests.support.suite import ROOT

_PREAMBLE = """
import json, os, signal, sys
import django
django.setup()
def say(value): print(json.dumps(value), flush=True)
def hear(): return json.loads(sys.stdin.readline())
"""


def test_database_url() -> str:
    """The URL of the database that the tests write to, which another process can open too."""
    parts = connection.settings_dict
    if connection.vendor == "sqlite":
        return database_url.of_sqlite_file(parts["NAME"])
    user = quote(parts["USER"], safe="") + (f":{quote(parts['PASSWORD'], safe='')}" if parts["PASSWORD"] else "")
    return f"postgres://{user}@{parts['HOST']}:{parts['PORT']}/{quote(parts['NAME'], safe='')}"


# Its name begins with the word by which pytest knows tests.
test_database_url.__test__ = False  # type: ignore[attr-defined]


class SecondProcess:
    """Runs ``code``, which talks with the test by ``say(value)`` and ``hear()``; a context manager."""

    def __init__(self, code: str) -> None:
        environ = os.environ | {"DATABASE_URL": test_database_url(), "DJANGO_SETTINGS_MODULE": "mlplatform.settings"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PREAMBLE + code],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, value: Any) -> None:
        """Hand a value to the process."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """The next value that it says; fails when it ended without a word."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the process ended with {self._process.wait()}"
        return json.loads(line)

    def wait(self) -> int:
        """Its exit status, negative for a signal."""
        return self._process.wait(timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
