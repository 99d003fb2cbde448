"""Virtual environments that hold no more than a document says, made of links to the packages of the tests' own.

Nothing is downloaded or copied: whatever a requirement needs, by the metadata of what is installed here, is linked into a
fresh environment, whose Python sees nothing else.
"""

import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.suite import ROOT


def of_the_product(folder: Path) -> Path:
    """The environment that ``make run`` makes; gives the folder of its programs."""
    models = {canonicalize_name(Requirement(line).name) for line in _lines("requirements-models.txt")}
    return _make(folder, closure(_lines("requirements.txt")) | models)


def of(folder: Path, *requirements: str) -> Path:
    """An environment after ``pip install`` of these and nothing more; gives the folder of its programs."""
    return _make(folder, closure(requirements))


def _make(folder: Path, wanted: set[str]) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    for top, names in _owners().items():
        if names <= wanted:
            (site / top.name).symlink_to(top)
        elif names & wanted:  # a namespace that others share
            _link_files(site, top.name, names & wanted)
    return folder / "bin"


def closure(requirements: Iterable[str]) -> set[str]:
    """The distributions that pip would install, by canonical name. Raises PackageNotFoundError for one that is not here."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        new = {extra for extra in {"", *requirement.extras} if (name, extra) not in seen}
        if not new:
            continue
        seen |= {(name, extra) for extra in new}
        found.add(name)
        for line in metadata.distribution(name).requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in new):
                waiting.append(needed)
    return found


@lru_cache(maxsize=1)
def _owners() -> dict[Path, set[str]]:
    """What lies in this environment's folder of packages, with the distributions that have files in it."""
    found: dict[Path, set[str]] = {}
    for distribution in metadata.distributions():
        root = Path(str(distribution.locate_file("")))
        for top in {path.partition("/")[0] for path in _recorded(distribution)}:
            found.setdefault(root / top, set()).add(canonicalize_name(distribution.name))
    return found


def _recorded(distribution: metadata.Distribution) -> list[str]:
    """Its files below the folder of packages. RECORD is read as text: torch has so many that objects for them take seconds."""
    lines = (distribution.read_text("RECORD") or "").splitlines()
    paths = (line.rsplit(",", 2)[0].strip('"') for line in lines)
    return [path for path in paths if path and not path.startswith(("..", "/", "__pycache__"))]


def _link_files(site: Path, top: str, names: set[str]) -> None:
    for name in names:
        distribution = metadata.distribution(name)
        for path in _recorded(distribution):
            target = site / path
            if path.startswith(f"{top}/") and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(Path(str(distribution.locate_file(path))))


def _lines(name: str) -> list[str]:
    text = (Path(ROOT) / name).read_text()
    return [line for line in text.splitlines() if line and not line.startswith(("#", "-r"))]
