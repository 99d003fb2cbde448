"""The secret key of this installation: made at the first start, kept in DATA_DIR, never in the repository."""

from __future__ import annotations

import secrets
from pathlib import Path

from mlplatform.run import private_files
from mlplatform.run.problems import LaunchError

KEY_BYTES = 48


def ensure(data_dir: Path) -> Path:
    """Make ``DATA_DIR/secret_key`` (mode 600) unless it is there; return its path.

    An existing key is kept, because sessions and signed values depend on it, but its mode is tightened.
    Raises LaunchError when the file is there and empty: a lost key must not be replaced unseen.
    """
    path = data_dir / "secret_key"
    private_files.make(path, secrets.token_urlsafe(KEY_BYTES) + "\n")
    if not path.read_text().strip():
        raise LaunchError(f"{path} is empty: restore it from a backup, or delete it and all sessions end.")
    path.chmod(0o600)
    return path
