"""Each check passes on a good machine and says in one line what to do on a bad one."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from mlplatform.run import environment, lock, preflight, redis_servers, secret_key
from mlplatform.run.problems import LaunchError
from mlplatform.run.redis_conf import RedisRole
from tests.support.redis_server import RedisServer, free_port


def refusal(error: pytest.ExceptionInfo[LaunchError]) -> str:
    """The message, which must be one line."""
    message = str(error.value)
    assert "\n" not in message
    return message


def plan(data_dir: Path, **variables: str) -> environment.LaunchPlan:
    data_dir.joinpath("run").mkdir(parents=True, exist_ok=True)
    return environment.read({"DATA_DIR": str(data_dir), **variables})


def test_an_old_python_is_refused() -> None:
    preflight.python_version((3, 11, 0))
    with pytest.raises(LaunchError) as error:
        preflight.python_version((3, 10, 9))
    assert "3.10.9" in refusal(error)


def test_data_dir_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    preflight.data_directory(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_a_data_dir_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LaunchError) as error:
        preflight.data_directory(tmp_path / "file" / "data")
    assert str(tmp_path / "file" / "data") in refusal(error)


def test_a_full_disk_is_refused(tmp_path: Path) -> None:
    preflight.free_disk(tmp_path, minimum=1)
    with pytest.raises(LaunchError) as error:
        preflight.free_disk(tmp_path, minimum=2**62)
    assert "MB" in refusal(error)


def test_a_port_in_use_is_refused_and_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LaunchError) as error:
            preflight.port_free(host="127.0.0.1", port=port, variable="WEB_PORT")
        assert str(port) in refusal(error)
        assert "WEB_PORT" in refusal(error)
    preflight.port_free(host="127.0.0.1", port=port, variable="WEB_PORT")


def test_a_foreign_address_is_refused() -> None:
    with pytest.raises(LaunchError) as error:
        preflight.port_free(host="no-such-host.invalid", port=free_port(), variable="WEB_PORT")
    assert "no-such-host.invalid" in refusal(error)


def test_a_given_redis_must_answer_and_its_password_is_not_shown() -> None:
    with RedisServer() as server:
        preflight.redis_answers(url=server.url, variable="REDIS_URL")
        secret = f"redis://:geheim@127.0.0.1:{server.port}/0"
        server.kill()
        with pytest.raises(LaunchError) as error:
            preflight.redis_answers(url=secret, variable="REDIS_URL")
    assert f"127.0.0.1:{server.port}" in refusal(error)
    assert "geheim" not in refusal(error)
    with pytest.raises(LaunchError):
        preflight.redis_answers(url="http://nowhere", variable="REDIS_URL")


@pytest.mark.parametrize(
    "variables",
    [
        {"WEB_PORT": "eighty"},
        {"WEB_PORT": "70000"},
        {"WEB_PORT": "0"},
        {"WEB_PORT": "50051"},
        {"WEB_WORKERS": "0"},
        {"WEB_THREADS": "many"},
        {"DATA_DIR": "/srv/a;b"},
        {"DATA_DIR": "/srv/a\nb"},
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(LaunchError) as error:
        environment.read(variables)
    assert next(iter(variables)) in refusal(error)


def test_data_dir_is_absolute_for_every_process() -> None:
    made = environment.read({"DATA_DIR": "data/here"})
    assert made.data_dir == environment.ROOT / "data" / "here"
    assert made.environ["DATA_DIR"] == str(made.data_dir)


def test_the_secret_key_is_made_once_and_read_by_its_owner_alone(tmp_path: Path) -> None:
    path = secret_key.ensure(tmp_path)
    first = path.read_text()
    assert len(first.strip()) >= 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    secret_key.ensure(tmp_path)
    assert path.read_text() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret_key"]


def test_a_secret_key_that_was_lost_is_not_replaced_unseen(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("\n")
    with pytest.raises(LaunchError):
        secret_key.ensure(tmp_path)
    assert (tmp_path / "secret_key").read_text() == "\n"


def test_one_launcher_for_a_data_dir(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock.held(path):
        with pytest.raises(LaunchError) as error, lock.held(path):
            pytest.fail("the second launcher got the lock")
        assert str(os.getpid()) in refusal(error)
    with lock.held(path):
        assert path.read_text().strip() == str(os.getpid())


def test_redis_ports_are_remembered_and_replaced_when_taken(tmp_path: Path) -> None:
    here = plan(tmp_path)
    servers, variables = redis_servers.prepare(here)
    assert [server.role for server in servers] == list(RedisRole)
    assert variables["REDIS_URL"] == servers[0].url
    assert variables["CACHE_REDIS_URL"] == servers[1].url
    again, _ = redis_servers.prepare(here)
    assert again == servers
    with socket.create_server(("127.0.0.1", servers[0].port)):
        moved, _ = redis_servers.prepare(here)
    assert moved[0].port != servers[0].port
    assert moved[1] == servers[1]


def test_a_role_that_the_operator_gave_is_not_started(tmp_path: Path) -> None:
    here = plan(tmp_path, REDIS_URL="redis://10.0.0.1:6379/0")
    servers, variables = redis_servers.prepare(here)
    assert [server.program for server in servers] == ["redis-cache"]
    assert variables["REDIS_URL"] == "redis://10.0.0.1:6379/0"
    assert not (tmp_path / "redis-state").exists()
