"""Reads the logs of the processes: the end of one for a failure, and what is new and bad for the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_SHOWN = 15
_LONGEST_LINE = 300
_TAIL_BYTES = 32_768
_CHUNK_BYTES = 262_144
_BAD = re.compile(r"\b(WARNING|ERROR|CRITICAL|FATAL)\b")


def last_lines(path: Path, count: int = _SHOWN) -> list[str]:
    """Return the last lines of a log, indented for the terminal; none when there is no log."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [f"    {line[:_LONGEST_LINE]}" for line in lines[-count:]]


class LogTail:
    """What was added to a log since this was made or looked at last, over rotations."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._inode = 0
        self._pending = b""
        try:
            found = path.stat()
        except OSError:
            return
        self._offset, self._inode = found.st_size, found.st_ino

    def new_lines(self) -> Iterator[str]:
        """Yield the whole lines that were added, at most a quarter of a megabyte of them at one look."""
        try:
            with self.path.open("rb") as file:
                found = self.path.stat()
                if found.st_ino != self._inode or found.st_size < self._offset:
                    self._offset, self._inode, self._pending = 0, found.st_ino, b""
                file.seek(self._offset)
                chunk = file.read(_CHUNK_BYTES)
        except OSError:
            return
        self._offset += len(chunk)
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")[:_LONGEST_LINE]


def is_bad(line: str) -> bool:
    """Whether a line of a process's log says that something is at least a warning."""
    return _BAD.search(line[:120]) is not None
