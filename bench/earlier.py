"""The product of an earlier commit, beside the present one: from a temporary worktree, on ports and in a data folder of its own.

It runs in the environment of the present one, whose packages must suffice it.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench import product
from bench.processes import ROOT
from bench.product import Product


@contextlib.contextmanager
def started(folder: Path, *, commit: str) -> Iterator[Product]:
    """Check the commit out into this new folder and start it. Raises RuntimeError with git's words when that fails."""
    folder.mkdir()
    source = folder / "source"
    _git("worktree", "add", "--detach", str(source), commit)
    try:
        with product.started(folder / "data", root=source) as running:
            yield running
    finally:
        _git("worktree", "remove", "--force", str(source))


def _git(*arguments: str) -> None:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(arguments)} failed: {done.stderr[-2000:]}")
