"""Strict readers of the environment: a value that cannot be read stops the process with its name and the reason."""

import secrets
from pathlib import Path
from typing import Final

from environs import Env

EPHEMERAL_SECRET_PREFIX: Final = "ephemeral-"  # noqa: S105 - says what such a key begins with


def reader() -> Env:
    """The environment of this process; empty strings count as unset values of text settings."""
    return Env(eager=True)


def secret_key(env: Env, data_dir: Path) -> str:
    """``SECRET_KEY``, else the file that ``make run`` wrote, else a random key that lives as long as the process.

    The last serves commands such as ``makemigrations``; the deploy check refuses it for serving.
    """
    given = env.str("SECRET_KEY", "")
    if given:
        return given
    path = data_dir / "secret_key"
    if path.is_file():
        return path.read_text().strip()
    return EPHEMERAL_SECRET_PREFIX + secrets.token_urlsafe(50)
