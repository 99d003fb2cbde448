"""Files that only this user may read: secrets, and configuration with secrets in it, whatever the umask is."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

_READ_AND_WRITE = 0o066
_EVERYTHING = 0o077
_FOR_OTHERS = frozenset({"static"})


def write(path: Path, text: str) -> None:
    """Make or replace a file (mode 600) in one step: a reader finds the old text or the new one, never a half."""
    draft = _draft(path, text)
    draft.replace(path)


def make(path: Path, text: str) -> None:
    """Make a file (mode 600) unless it is there. A start that dies half-way leaves none; of two starts one wins."""
    if path.exists():
        return
    draft = _draft(path, text)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def close_to_others(data_dir: Path) -> bool:
    """Take away what other users of the machine may do with ``data_dir`` and what lies in it; True when that was anything.

    A folder that a person made, and files that commands wrote before the first start, have the modes of a usual umask. Others
    keep the right to pass through ``data_dir`` if they have it, for a web server in front that reads ``static``. What belongs
    to another user is left as it is: its owner decides.
    """
    changed = _take(data_dir, _READ_AND_WRITE)
    for entry in data_dir.iterdir():
        if entry.name not in _FOR_OTHERS and not entry.is_symlink():
            changed = _take(entry, _EVERYTHING) or changed
    return changed


def _take(path: Path, rights: int) -> bool:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & rights:
            path.chmod(mode & ~rights)
            return True
    return False


def _draft(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)  # A former process of this number may have died here.
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft
