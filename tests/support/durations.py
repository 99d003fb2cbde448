"""A pytest plugin that keeps how long each folder's tests took, for ``tests/support/budget.py``.

Only whole, good runs of a target (``--tier``) are kept, each in its place in a file that git ignores. A duration is the
time of a test with its set-up and tear-down, so the sum of two workers is up to twice what the clock shows.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / ".test-durations.json"


class Recorder:
    """Sums the durations that the workers report."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._folders: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Each of a test's three phases."""
        self._folders[report.nodeid.partition("::")[0].rpartition("/")[0]] += report.duration

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Keep the sums of a run in which everything passed."""
        if exitstatus == 0:
            kept = read() | {self._target: {name: round(took, 1) for name, took in sorted(self._folders.items())}}
            FILE.write_text(json.dumps(kept, indent=2) + "\n")


def read() -> dict[str, dict[str, float]]:
    """Seconds by target and folder; empty when nothing was recorded."""
    recorded: dict[str, dict[str, float]] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return recorded


def pytest_configure(config: pytest.Config) -> None:
    """Workers of xdist report to the process that started them, which alone records; ``-k`` and ``-m`` leave gaps."""
    partial = config.getoption("keyword") or config.getoption("markexpr")
    if config.getoption("tier") and not partial and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(config.getoption("tier")))
