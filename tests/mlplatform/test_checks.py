"""System checks name what is wrong with an installation."""

from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.test import override_settings

from mlplatform import checks
from mlplatform.lib import env
from mlplatform.lib.env import EPHEMERAL_SECRET_PREFIX


def test_this_installation_has_nothing_to_say() -> None:
    assert [message for message in run_checks() if (message.id or "").startswith("mlplatform.")] == []
    assert checks.secret_key_is_kept(None) == []
    assert checks.redis_asks_for_a_password(None) == []


def test_a_key_of_this_process_alone_is_refused_for_serving() -> None:
    with override_settings(SECRET_KEY=EPHEMERAL_SECRET_PREFIX + "x" * 50):
        (message,) = checks.secret_key_is_kept(None)
    assert message.id == "mlplatform.E001"
    assert "SECRET_KEY" in (message.hint or "")


@pytest.mark.parametrize("cache", ["redis://127.0.0.1:6390/0", "redis://127.0.0.1:6390/1"])
def test_one_server_for_both_roles_is_refused(cache: str) -> None:
    with override_settings(REDIS_URL="redis://127.0.0.1:6390/0", CACHE_REDIS_URL=cache):
        (message,) = checks.redis_roles_are_apart(None)
    assert message.id == "mlplatform.E002"


def test_a_redis_on_another_machine_without_a_password_is_warned_of_once_each() -> None:
    bare = "redis://redis.example:6379/0"
    with override_settings(REDIS_URL=bare, CELERY_BROKER_URL=bare, CACHE_REDIS_URL="redis://:secret@cache.example/0"):
        (message,) = checks.redis_asks_for_a_password(None)
    assert message.id == "mlplatform.W004"
    assert message.msg.startswith("REDIS_URL names")
    assert "requirepass" in (message.hint or "")
    with override_settings(CACHE_REDIS_URL=bare, CELERY_BROKER_URL="redis://broker.example"):
        assert [message.msg.partition(" ")[0] for message in checks.redis_asks_for_a_password(None)] == [
            "BROKER_URL",
            "CACHE_REDIS_URL",
        ]


def test_the_secret_key_comes_from_the_environment_the_file_or_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = env.reader()
    monkeypatch.delenv("SECRET_KEY")
    first, second = (env.secret_key(reader, tmp_path) for _ in range(2))
    assert first != second
    assert first.startswith(EPHEMERAL_SECRET_PREFIX)
    (tmp_path / "secret_key").write_text("kept\n")
    assert env.secret_key(reader, tmp_path) == "kept"
    monkeypatch.setenv("SECRET_KEY", "given")
    assert env.secret_key(reader, tmp_path) == "given"
