"""No part of DATABASE_URL is ignored."""

from pathlib import Path

import pytest

from mlplatform.lib import database_url


def test_sqlite_takes_paths_and_the_options_that_many_threads_need() -> None:
    parsed = database_url.parse("sqlite:////var/lib/ml%20platform/db.sqlite3")
    assert parsed["NAME"] == "/var/lib/ml platform/db.sqlite3"
    assert parsed["TEST"] == {"NAME": "/var/lib/ml platform/test.sqlite3"}
    assert parsed["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in parsed["OPTIONS"]["init_command"]
    assert database_url.parse("sqlite:///var/db.sqlite3")["NAME"] == "var/db.sqlite3"


@pytest.mark.parametrize("path", ["/srv/a b/db", "/srv/50%20/db", "/srv/a#b?c/db", "/srv/größe/db"])
def test_a_sqlite_file_comes_back_whatever_its_path_has(path: str) -> None:
    assert database_url.parse(database_url.of_sqlite_file(Path(path)))["NAME"] == path


def test_postgresql_takes_every_part() -> None:
    parsed = database_url.parse(
        "postgres://us%40er:p%2Fa%3As%23s@[::1]:6543/my%20db?sslmode=verify-full&connect_timeout=3"
    )
    assert parsed["ENGINE"] == "django.db.backends.postgresql"
    assert (parsed["USER"], parsed["PASSWORD"]) == ("us@er", "p/a:s#s")
    assert (parsed["HOST"], parsed["PORT"], parsed["NAME"]) == ("::1", "6543", "my db")
    assert parsed["OPTIONS"] == {"sslmode": "verify-full", "connect_timeout": "3"}
    assert parsed["CONN_HEALTH_CHECKS"] is True


def test_postgresql_needs_only_a_name() -> None:
    parsed = database_url.parse("postgresql:///mlplatform")
    assert (parsed["NAME"], parsed["HOST"], parsed["PORT"], parsed["OPTIONS"]) == ("mlplatform", "", "", {})


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "needs a path"),
        ("sqlite:///", "needs a path"),
        ("sqlite://db.sqlite3", "needs a path"),
        ("sqlite:////a/b?c", "%3F"),
        ("sqlite:////a/b#c", "%23"),
        ("postgres://host", "needs the name"),
        ("postgres://u:pa#ss@host/db", "%23"),
        ("postgres://host:port/db", "port"),
        ("postgres://host/db?sslmode", "bad query field"),
        ("mysql://host/db", "'mysql' is neither"),
        ("db.sqlite3", "neither"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        database_url.parse(url)
