"""Each check passes on a good machine and says in one line what to do on a bad one."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from mlplatform.lib import redis_urls
from mlplatform.run import environment, lock, preflight, private_files, redis_servers, secret_key
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
    assert [server.port for server in again] == [server.port for server in servers]
    with socket.create_server(("127.0.0.1", servers[0].port)):
        moved, _ = redis_servers.prepare(here)
    assert moved[0].port != servers[0].port
    assert moved[1].port == servers[1].port


def test_redis_gets_a_new_password_at_each_start_that_this_user_alone_can_read(tmp_path: Path) -> None:
    here = plan(tmp_path)
    passwords = []
    for _ in range(2):
        servers, variables = redis_servers.prepare(here)
        (password,) = {server.password for server in servers}
        passwords.append(password)
        for role, variable in (("state", "REDIS_URL"), ("cache", "CACHE_REDIS_URL")):
            conf = here.run_dir / f"redis-{role}.conf"
            assert f'requirepass "{password}"' in conf.read_text()
            assert password in variables[variable]
            # What a command beside the run finds.
            found = redis_urls.find("", variable=variable, role=role, data_dir=tmp_path)  # type: ignore[arg-type]
            assert found.url == variables[variable]
            assert password not in repr((servers, found, found.source))
            conf.chmod(0o644)  # As a start of before may have left it.
    assert len(passwords[0]) >= 40
    assert passwords[0] != passwords[1]
    for file in here.run_dir.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 or "conf" in file.name
    redis_servers.prepare(here)
    assert {stat.S_IMODE(file.stat().st_mode) for file in here.run_dir.iterdir()} == {0o600}


def test_what_others_could_read_in_data_dir_is_closed_to_them(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    for folder in ("run", "models", "static"):
        (data_dir / folder).mkdir(parents=True, exist_ok=True)
        (data_dir / folder).chmod(0o755)
    (data_dir / "db.sqlite3").touch(0o644)
    elsewhere = tmp_path / "a folder of the operator"
    elsewhere.mkdir()
    elsewhere.chmod(0o755)
    (data_dir / "files").symlink_to(elsewhere)
    data_dir.chmod(0o755)

    assert private_files.close_to_others(data_dir)
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in data_dir.iterdir()}
    assert modes == {"run": 0o700, "models": 0o700, "db.sqlite3": 0o600, "static": 0o755, "files": 0o755}
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o711
    assert not private_files.close_to_others(data_dir), "what is closed is not said again"


def test_a_role_that_the_operator_gave_is_not_started(tmp_path: Path) -> None:
    here = plan(tmp_path, REDIS_URL="redis://10.0.0.1:6379/0")
    servers, variables = redis_servers.prepare(here)
    assert [server.program for server in servers] == ["redis-cache"]
    assert variables["REDIS_URL"] == "redis://10.0.0.1:6379/0"
    assert not (tmp_path / "redis-state").exists()
