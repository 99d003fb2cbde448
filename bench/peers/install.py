"""``python -m bench.peers.install``: makes ``bench/.peers``, the environment of the servers that we compare with.

Their packages are installed there in the versions of ``requirements-peers.txt``, and found first. torch, numpy and the
tokenizers are those of the product's environment, through a ``.pth`` file: both sides then compute with the same build.
"""

import hashlib
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Final

from bench.processes import ROOT

FOLDER: Final = ROOT / "bench" / ".peers"
PYTHON: Final = FOLDER / "bin" / "python"
REQUIREMENTS: Final = Path(__file__).with_name("requirements-peers.txt")
_STAMP: Final = FOLDER / "installed"


def ensure() -> Path:
    """The Python of the peers' environment, which is made when it is missing or out of date.

    Raises RuntimeError with pip's words when a package cannot be installed.
    """
    wanted = _wanted()
    if not PYTHON.exists() or not _STAMP.exists() or _STAMP.read_text() != wanted:
        print(f"Installing the peers into {FOLDER.relative_to(ROOT)} …", flush=True)
        _make()
        _STAMP.write_text(wanted)
    return PYTHON


def _wanted() -> str:
    return hashlib.sha256(f"{REQUIREMENTS.read_text()}\n{sys.version}\n{_product_site()}".encode()).hexdigest()


def _product_site() -> Path:
    return Path(sysconfig.get_path("purelib")).resolve()


def _make() -> None:
    venv.create(FOLDER, with_pip=True, clear=True)
    done = subprocess.run(
        [PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", REQUIREMENTS],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The peers could not be installed:\n{done.stderr[-2000:]}")
    found = subprocess.run(
        [PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    # Only after pip has run: it would take the product's packages for installed ones.
    Path(found.stdout.strip(), "product.pth").write_text(f"{_product_site()}\n")


if __name__ == "__main__":
    print(f"{ensure()} is ready.")
