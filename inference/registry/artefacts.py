"""The artefact directory of a model version: what may lie in it, and the digest that pins its content.

A digest is the SHA-256, in lower-case hex, over the sorted lines `<relative posix path>\\0<sha256 hex of the file>\\n`.
Only formats that are data and nothing else are allowed, so that loading a model can never run code: weights as
safetensors, everything else as JSON, the card as TOML, images of examples, and texts for people. Pickles (`.pt`, `.bin`,
`.pkl`, …) are refused by name before they are opened; `inference.registry.packages`
looks into each file of a pushed model besides.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

ALLOWED_SUFFIXES = frozenset({".safetensors", ".json", ".toml", ".png", ".jpg", ".txt", ".md"})


class ArtefactError(Exception):
    """An artefact directory is missing, holds something it must not hold, or is not the one that was registered."""


def digest(path: Path) -> str:
    """Return the digest of the artefact directory `path`; ArtefactError when it is missing or not acceptable."""
    lines = sorted(f"{name}\0{_file_hash(file)}\n" for name, file in _files(path))
    if not lines:
        raise ArtefactError(f"The artefact directory {path} holds no files.")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def verify(path: Path, *, expected: str) -> None:
    """Check that the artefact directory is acceptable and has exactly the digest `expected`; else ArtefactError."""
    actual = digest(path)
    if actual != expected:
        raise ArtefactError(f"The artefact directory {path} has the digest {actual}, but {expected} was registered.")


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield (relative posix path, file) of every file below `root`, having refused whatever is not plain data."""
    if not root.is_dir():
        raise ArtefactError(f"The artefact directory {root} does not exist.")
    pending = [root]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                file = Path(entry.path)
                name = file.relative_to(root).as_posix()
                _check_name(name)
                if entry.is_symlink():
                    raise ArtefactError(
                        f"The artefact holds a symbolic link, {name!r}; only regular files are allowed."
                    )
                if entry.is_dir(follow_symlinks=False):
                    pending.append(file)
                elif not entry.is_file(follow_symlinks=False):
                    raise ArtefactError(f"The artefact holds {name!r}, which is not a regular file.")
                elif file.suffix not in ALLOWED_SUFFIXES:
                    raise ArtefactError(
                        f"The artefact holds {name!r}; only {', '.join(sorted(ALLOWED_SUFFIXES))} files are allowed."
                    )
                else:
                    yield name, file


def _check_name(name: str) -> None:
    # A line feed or NUL in a name could make two different directories yield the same lines, and a name that is
    # not UTF-8 has no portable line at all.
    if not name.isprintable():
        raise ArtefactError(f"The artefact holds a file with an unprintable name, {name!r}.")


def _file_hash(file: Path) -> str:
    # O_NOFOLLOW and fstat: what is hashed is a regular file even if the name was swapped since it was listed.
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ArtefactError(f"The artefact file {file} cannot be read: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ArtefactError(f"The artefact file {file} is not a regular file.")
        return hashlib.file_digest(stream, "sha256").hexdigest()
