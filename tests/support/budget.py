"""``make check``: no folder's tests take much longer than ``tests/budget.toml`` allows, as they were recorded last.

It passes where ``make test`` has not run. A slow or busy machine is no fault of the tests, so a folder may take three
times its budget, and as much more as the run was slow all over.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from tests.support import durations

FILE = Path(__file__).resolve().parents[1] / "budget.toml"
NOISE = 3.0
"""How much longer than its budget a folder may take before it is named."""
SLACK_S = 5.0
"""A folder that takes less is not worth a word."""


def overdrawn(budget: Mapping[str, float], recorded: Mapping[str, float]) -> list[str]:
    """A line for each folder that takes too long, has no budget, or has one and ran nothing."""
    slowness = max(1.0, sum(recorded.values()) / max(sum(budget.values()), 1.0))
    missing = sorted(budget.keys() - recorded.keys())
    lines = [f"{folder} has a budget, but none of its tests ran" for folder in missing]
    for folder, took in recorded.items():
        allowed = budget.get(folder)
        if allowed is None:
            lines.append(f"{folder} has no budget in tests/budget.toml; it took {took:.0f} s")
        elif took > max(SLACK_S, allowed * NOISE * slowness):
            lines.append(
                f"{folder} took {took:.0f} s of test time, more than {NOISE:g} times its budget of {allowed:g} s"
            )
    return lines


def main() -> int:
    """Compare; return 1 and say what is over where something is."""
    table = tomllib.loads(FILE.read_text())
    budget: dict[str, float] = table["folders"]
    if sum(budget.values()) > table["total"]:
        print(f"tests/budget.toml: the folders' seconds add up to more than {table['total']} s.")
        return 1
    recorded = durations.read().get("test")
    if recorded is None:
        print("No durations of `make test` are recorded here: nothing to compare with tests/budget.toml.")
        return 0
    lines = overdrawn(budget, recorded)
    for line in lines:
        print(line)
    print(f"`make test` took {sum(recorded.values()):.0f} s of test time; the budget is {sum(budget.values()):.0f} s.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
