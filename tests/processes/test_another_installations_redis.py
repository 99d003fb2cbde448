"""No process of the Procfile and no command writes to the Redis of another installation, or reads from it."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplatform.lib import redis_urls
from mlplatform.run import procfile
from mlplatform.run.environment import ROOT
from tenants.installation import KEY
from tests.support.redis_server import RedisServer, free_port

pytestmark = pytest.mark.processes

OTHER = str(uuid.uuid4())
_OWN = ("REDIS_URL", "CACHE_REDIS_URL", "BROKER_URL", "DATABASE_URL", "SECRET_KEY", "DATA_DIR", "WEB_PORT", "DEBUG")


@pytest.fixture(scope="module")
def foreign_state() -> Iterator[RedisServer]:
    """The state Redis of another installation."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, foreign_state: RedisServer) -> dict[str, str]:
    """The environment of an installation with a database, whose run remembers ports that another's servers have now."""
    data_dir = tmp_path_factory.mktemp("installation")
    environ = {name: value for name, value in os.environ.items() if name not in _OWN} | {"DATA_DIR": str(data_dir)}
    _manage(environ, "migrate", "--no-input")
    (data_dir / "run").mkdir()
    ports = {"state": foreign_state.port, "cache": free_port()}
    redis_urls.ports_file(data_dir).write_text(json.dumps(ports))
    # A password that was copied with the ports, for one of its own would be refused before ids are compared.
    redis_urls.password_file(data_dir).write_text(foreign_state.password)
    return environ


@pytest.fixture(autouse=True)
def anothers(foreign_state: RedisServer) -> None:
    foreign_state.flush()
    foreign_state.client().set(KEY, OTHER)


@pytest.mark.parametrize("name", ["web", "grpc", "gpu-worker", "private-worker", "jobs-worker", "beat"])
def test_a_process_that_is_given_anothers_redis_says_so_and_writes_nothing(
    name: str, installation: dict[str, str], foreign_state: RedisServer, tmp_path: Path
) -> None:
    environ = {
        **installation,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "DJANGO_SETTINGS_MODULE": "mlplatform.settings",
        "REDIS_SERVER": "",
        "WEB_HOST": "127.0.0.1",
        "WEB_PORT": str(free_port()),
        "WEB_WORKERS": "1",
        "WEB_THREADS": "4",
        "GRPC_PORT": str(free_port()),
        "WORKER_POOLS": "gpu",
        "PRIVATE_MODELS_POOL": "private",
        "PRIVATE_MODELS_AT_ONCE": "1",
    }
    (program,) = [one for one in procfile.read((ROOT / "Procfile").read_text(), environ) if one.name == name]
    ended = subprocess.run(
        program.argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    assert ended.returncode != 0
    assert f"belongs to installation {OTHER}" in ended.stdout + ended.stderr
    assert list(foreign_state.client().scan_iter()) == [KEY.encode()]
    assert foreign_state.client().get(KEY) == OTHER.encode()


def test_a_command_goes_to_the_redis_of_its_data_dir_and_names_it(
    installation: dict[str, str], foreign_state: RedisServer
) -> None:
    refused = _manage(installation, "model", "list", status=1)
    where = redis_urls.ports_file(Path(installation["DATA_DIR"]))
    assert f"127.0.0.1:{foreign_state.port}/0 (from {where}) belongs to installation {OTHER}" in refused
    assert "Traceback" not in refused
    assert list(foreign_state.client().scan_iter()) == [KEY.encode()]


def test_anothers_redis_that_refuses_the_password_is_told_from_one_that_does_not_answer(
    installation: dict[str, str], foreign_state: RedisServer
) -> None:
    file = redis_urls.password_file(Path(installation["DATA_DIR"]))
    file.write_text("of this installation")
    try:
        refused = _manage(installation, "model", "list", status=1)
    finally:
        file.write_text(foreign_state.password)
    assert "refuses the password" in refused
    assert "of this installation" not in refused
    assert "Traceback" not in refused


def test_where_nothing_has_run_a_command_says_so(installation: dict[str, str]) -> None:
    data_dir = Path(installation["DATA_DIR"])
    ports = redis_urls.ports_file(data_dir)
    text = ports.read_text()
    ports.unlink()
    try:
        refused = _manage(installation, "model", "list", status=1)
        assert refused.strip().startswith("CommandError: REDIS_URL is not set and nothing has run from DATA_DIR")
        assert str(data_dir) in refused
    finally:
        ports.write_text(text)


def _manage(environ: dict[str, str], *arguments: str, status: int = 0) -> str:
    """Run a management command and give what it said."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr
