"""The secret key of this installation: made at the first start, kept in DATA_DIR, never in the repository."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from mlplatform.run.problems import LaunchError

KEY_BYTES = 48


def ensure(data_dir: Path) -> Path:
    """Make ``DATA_DIR/secret_key`` (mode 600) unless it is there; return its path.

    An existing key is kept, because sessions and signed values depend on it, but its mode is tightened.
    Raises LaunchError when the file is there and empty: a lost key must not be replaced unseen.
    """
    path = data_dir / "secret_key"
    # Written beside and then linked: a start that dies half-way leaves no half key; of two starts one wins.
    draft = data_dir / f".secret_key.{os.getpid()}"
    if not path.exists():
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    if not path.read_text().strip():
        raise LaunchError(f"{path} is empty: restore it from a backup, or delete it and all sessions end.")
    path.chmod(0o600)
    return path
