"""Taking a folder as a package: what was checked is a copy, which cannot change between the check and its use."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from inference.registry.packages.limits import MAX_FILES, MAX_FOLDERS_DEEP, Limits
from inference.registry.packages.names import require_acceptable, require_distinct
from inference.registry.packages.problems import PackageError, placed

_CHUNK: Final = 1024 * 1024
_MAX_SEEN: Final = 10 * MAX_FILES


def copy(source: Path, target: Path, limits: Limits) -> None:
    """Copy every file below ``source`` into the empty folder ``target``. Raises PackageError that names the file."""
    files = dict(_files(source))
    require_distinct(files)
    room = limits.max_bytes
    for name, file in files.items():
        require_acceptable(name)
        room -= _copy_file(name, file, target / name, room)


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    pending = [(root, 0)]
    seen = 0
    while pending:
        folder, depth = pending.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                file = Path(entry.path)
                name = file.relative_to(root).as_posix()
                seen += 1
                if seen > _MAX_SEEN:
                    raise PackageError("package", f"It has more than {MAX_FILES} files.")
                if entry.is_symlink():
                    raise PackageError(
                        placed(name), "It is a link; only regular files are accepted (cp -rL resolves links)."
                    )
                if entry.is_dir(follow_symlinks=False):
                    if depth >= MAX_FOLDERS_DEEP:
                        raise PackageError(placed(name), f"Folders are at most {MAX_FOLDERS_DEEP} deep.")
                    pending.append((file, depth + 1))
                else:
                    yield name, file


def _copy_file(name: str, file: Path, target: Path, room: int) -> int:
    # O_NOFOLLOW and fstat: a name that was swapped since it was listed must not lead elsewhere or hang on a pipe.
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise PackageError(placed(name), "It is not a regular file.")
        target.parent.mkdir(parents=True, exist_ok=True)
        copied = 0
        with target.open("xb") as sink:
            while chunk := source.read(_CHUNK):
                copied += len(chunk)
                if copied > room:
                    raise PackageError(placed(name), "The package is larger than is accepted.")
                sink.write(chunk)
    return copied
