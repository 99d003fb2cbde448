"""Another user of the machine meets a closed door wherever a running product listens, and at each of its files.

The product starts over the DATA_DIR of a release whose Redis asked for no password, and whose launcher was killed: that
Redis still runs.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from inference.grpc.generated import ml_inference_pb2 as pb
from inference.grpc.generated import ml_inference_pb2_grpc
from mlplatform.lib import redis_urls
from mlplatform.run import redis_binary
from mlplatform.run.environment import MARKER, ROOT
from tests.support import another_user
from tests.support.product import Product
from tests.support.redis_server import free_port

pytestmark = pytest.mark.processes

_CONF_OF_BEFORE = 'bind 127.0.0.1\nprotected-mode yes\nset-proc-title no\nappendonly yes\nsave ""\n'


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder into which every user of the machine can look, so that what is closed in it closes itself."""
    made = Path(tempfile.mkdtemp(prefix="other-users-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def former_redis(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The state Redis that an earlier release's killed launcher has left, open to all users, as are the files."""
    data_dir = folder / "data"
    for each in (data_dir, data_dir / "run", data_dir / "redis-state"):
        each.mkdir()
        each.chmod(0o755)
    port = free_port()
    redis_urls.ports_file(data_dir).write_text(json.dumps({"state": port, "cache": free_port()}))
    conf = data_dir / "run" / "redis-state.conf"
    conf.write_text(f'{_CONF_OF_BEFORE}port {port}\ndir "{data_dir}/redis-state"\n')
    for each in (conf, redis_urls.ports_file(data_dir)):
        each.chmod(0o644)
    process = subprocess.Popen(
        [redis_binary.find().path, conf],
        env={**os.environ, MARKER: str(data_dir)},
        stdout=subprocess.DEVNULL,
    )
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
        give_up = time.monotonic() + 15
        while True:
            try:
                client.set("kept over the upgrade", "yes")
                break
            except redis.ConnectionError:
                assert time.monotonic() < give_up
                time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def product(folder: Path, former_redis: subprocess.Popen[bytes]) -> Iterator[Product]:
    with Product(folder / "data") as running:
        running.start()
        yield running


@pytest.fixture(scope="module")
def password(product: Product) -> str:
    return redis_urls.password_file(product.data_dir).read_text().strip()


def processes(product: Product) -> list[psutil.Process]:
    assert product.launcher is not None
    return [psutil.Process(pid) for pid in (product.launcher.pid, *product.processes())]


def listening_ports(product: Product) -> set[int]:
    """Every TCP port on which a process of the run listens."""
    return {
        connection.laddr.port
        for process in processes(product)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def test_the_redis_of_before_was_ended_and_what_it_held_is_there(
    product: Product, former_redis: subprocess.Popen[bytes], password: str
) -> None:
    assert former_redis.poll() is not None
    ports = redis_urls.remembered_ports(product.data_dir)
    with redis.Redis(port=ports["state"], password=password) as client:
        assert client.get("kept over the upgrade") == b"yes"


def test_every_port_refuses_who_shows_nothing(product: Product) -> None:
    ports = redis_urls.remembered_ports(product.data_dir)
    refuse: dict[int, Callable[[int], None]] = {
        ports["state"]: refused_by_redis,
        ports["cache"]: refused_by_redis,
        int(product.environ["WEB_PORT"]): refused_by_web,
        int(product.environ["GRPC_PORT"]): refused_by_grpc,
    }
    assert listening_ports(product) == refuse.keys(), "each port that is listened on is tried here"
    for port, refused in refuse.items():
        refused(port)


def refused_by_redis(port: int) -> None:
    for password in (None, "", "wrong"):
        with redis.Redis(port=port, password=password, retry=Retry(NoBackoff(), 0)) as stranger:
            for command in (("KEYS", "*"), ("EVAL", "return 1", "0"), ("CONFIG", "GET", "requirepass"), ("INFO",)):
                with pytest.raises(redis.AuthenticationError):
                    stranger.execute_command(*command)


def refused_by_web(port: int) -> None:
    for path in ("/v2/models", "/v2/limits", "/v2/usage", "/openai/v1/models"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30)
        assert refused.value.code == 401
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        numbers = answer.read().decode()
    assert "mlplatform_" in numbers
    assert "acme" not in numbers, "loopback reads numbers of the whole, and of no tenant"


def refused_by_grpc(port: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = ml_inference_pb2_grpc.InferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(pb.PredictRequest(model_name="sentiment", text="text"), timeout=30)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_every_unix_socket_lies_behind_modes_of_its_owner_alone(product: Product) -> None:
    named = {
        str(connection.laddr)
        for process in processes(product)
        for connection in process.net_connections("unix")
        if connection.laddr
    }
    run_dir = product.data_dir / "run"
    # supervisord binds a name with its process id appended, and links it to its own.
    assert {name.rstrip(".0123456789") for name in named} == {
        str(run_dir / "supervisor.sock"),
        str(run_dir / "web.sock"),
    }
    for socket_file in (run_dir / "supervisor.sock", run_dir / "web.sock"):
        assert stat.S_IMODE(socket_file.stat().st_mode) == 0o700
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700


def test_every_file_is_closed_to_others(product: Product) -> None:
    assert "was open to other users of this machine; it is closed now" in product.said()
    assert stat.S_IMODE(product.data_dir.stat().st_mode) == 0o711
    open_to_others = {
        entry.name
        for entry in (*product.data_dir.iterdir(), *(product.data_dir / "run").iterdir())
        if entry.stat().st_mode & 0o077
    }
    assert open_to_others == set()


@another_user.needs_root
def test_another_user_reads_no_file_and_reaches_no_socket(product: Product) -> None:
    assert another_user.can_do_anything()
    data_dir = product.data_dir
    assert another_user.can_read(data_dir.parent)
    closed = [data_dir, *data_dir.iterdir(), *(data_dir / "run").iterdir(), data_dir / "logs" / "web.log"]
    secrets = {"demo.json", "secret_key", "db.sqlite3", "redis_password", "redis-state.conf", "supervisord.conf"}
    if product.environ["DATABASE_URL"]:
        secrets.remove("db.sqlite3")
    assert secrets <= {path.name for path in closed}
    assert [path for path in closed if path.exists() and not path.is_socket() and another_user.can_read(path)] == []
    for name in ("supervisor.sock", "web.sock"):
        assert not another_user.can_connect(data_dir / "run" / name)
    web = next(process for process in processes(product) if process.pid == product.pid_of("web"))
    assert not another_user.can_read(Path("/proc") / str(web.pid) / "environ")


def test_the_password_is_in_no_command_no_log_and_no_printed_line(product: Product, password: str) -> None:
    assert len(password) >= 40
    assert [process.pid for process in processes(product) if password in " ".join(process.cmdline())] == []
    assert password not in product.said()
    holding = {
        str(path.relative_to(product.data_dir))
        for path in product.data_dir.rglob("*")
        if path.is_file() and password.encode() in path.read_bytes()
    }
    assert holding == {"run/redis_password", "run/redis-state.conf", "run/redis-cache.conf"}


def test_commands_beside_the_run_find_the_password(product: Product, password: str) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "DATA_DIR": str(product.data_dir),
        "DATABASE_URL": product.environ["DATABASE_URL"],
    }
    for command in (["installation", "check"], ["seed_demo"]):
        done = subprocess.run(
            [sys.executable, "manage.py", *command], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert password not in done.stdout + done.stderr


def test_redis_that_was_killed_comes_back_with_the_password_and_every_process_signs_in(
    product: Product, password: str
) -> None:
    port = redis_urls.remembered_ports(product.data_dir)["state"]
    os.kill(product.pid_of("redis-state"), 9)
    give_up = time.monotonic() + 90
    while predicted(product) != 200:
        assert time.monotonic() < give_up, "calls are answered again"
        time.sleep(0.2)
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    assert all(password not in log.read_text(errors="replace") for log in (product.data_dir / "logs").iterdir())


def predicted(product: Product) -> int:
    """The status of a call whose input was never asked for before, so that it goes to a worker and back."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{product.environ['WEB_PORT']}/v2/predict",
        data=json.dumps({"model": "sentiment", "input": f"asked at {time.monotonic()}"}).encode(),
        headers={
            "Authorization": f"Bearer {product.demo()['tenants']['acme']['api_key']}",
            "Content-Type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310 (the product's own address)
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
