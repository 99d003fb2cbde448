"""Having a package checked in a process of its own, which may use little and knows nothing that is worth stealing."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inference.registry.packages import card as cards
from inference.registry.packages.archives import ARCHIVE
from inference.registry.packages.card import Card
from inference.registry.packages.limits import Limits
from inference.registry.packages.problems import PackageError
from mlplatform.lib.errors import PlatformError, unavailable

logger = logging.getLogger(__name__)

_ROOT: Final = Path(__file__).resolve().parents[3]
_MAX_VERDICT_BYTES: Final = 16 * 1024 * 1024
_MODULE: Final = "inference.registry.packages.check"


@dataclass(frozen=True, slots=True)
class Checked:
    """A package that was accepted and now lies in the folder it was brought to. ``digest`` is ``artefacts.digest``'s."""

    card: Card
    digest: str
    size_bytes: int


def check(*, source: Path, target: Path, limits: Limits, trusted: bool) -> Checked:
    """Bring the package ``source``, a folder or a zip, into the empty folder ``target``, checked.

    ``trusted``: as ``contents.check`` has it. Raises PackageError for what the package has wrong, and UNAVAILABLE where the check
    itself failed.
    """
    order = {
        "source": str(source.resolve()),
        "target": str(target.resolve()),
        "limits": limits.to_json(),
        "trusted": trusted,
    }
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as complaints:
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter and this product, nothing of the package
                # -E and -s: neither variables nor a user's packages decide what runs. -m takes the product from its root.
                [sys.executable, "-E", "-s", "-B", "-m", _MODULE],
                input=json.dumps(order).encode(),
                stdout=answer,
                stderr=complaints,
                cwd=_ROOT,
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                timeout=limits.wall_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PackageError(ARCHIVE, f"Checking it took longer than {limits.wall_s} s.") from error
        answer.seek(0)
        said = answer.read(_MAX_VERDICT_BYTES)
        complaints.seek(0)
        complained = complaints.read(_MAX_VERDICT_BYTES)
    if done.returncode < 0:
        logger.warning("the check of a package was ended by signal %d", -done.returncode)
        raise PackageError(ARCHIVE, "Checking it took more time or memory than a package may need.")
    if done.returncode:
        raise _failed(complained)
    return _verdict(said)


def _verdict(said: bytes) -> Checked:
    try:
        verdict = json.loads(said)
        if "reason" in verdict:
            raise PackageError(str(verdict["place"]), str(verdict["reason"]))
        digest, size = str(verdict["digest"]), int(verdict["size_bytes"])
    except (ValueError, KeyError, TypeError) as error:
        raise _failed(said) from error
    # Read again on this side: what the other process says is no more trusted than the package.
    return Checked(cards.parse(verdict["card"]), digest, size)


def _failed(output: bytes) -> PlatformError:
    logger.error("a package could not be checked: %s", output[-2000:].decode(errors="replace"))
    return unavailable("The package could not be checked now; nothing was stored.", retry_after_s=30.0)
