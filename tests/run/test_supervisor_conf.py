"""What is rendered for supervisord and Redis is read by them as it was meant."""

from __future__ import annotations

import shlex
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor.options import UnhosedConfigParser, expand

from mlplatform.run import supervisor_conf
from mlplatform.run.problems import LaunchError
from mlplatform.run.procfile import Program
from mlplatform.run.redis_conf import RedisRole
from mlplatform.run.supervisor_conf import Control
from tests.support.redis_server import RedisServer

WEB = Program(name="web", argv=("serve", "--port", "8000"))
WORKER = Program(name="gpu-worker", argv=("celery", "-n", "gpu@%h"))
REDIS = Program(name="redis-state", argv=("redis-server", "/data dir/redis.conf"))


def parsed(*programs: Program, as_root: bool = False) -> UnhosedConfigParser:
    """The configuration as supervisord's own reader sees it."""
    text = supervisor_conf.render(
        programs=programs,
        control=Control(socket=Path("/run/s.sock"), password="secret"),
        root=Path("/srv"),
        run_dir=Path("/data/run"),
        log_dir=Path("/data/logs"),
        as_root=as_root,
    )
    parser = UnhosedConfigParser()
    parser.read_string(text)
    return parser


def command(parser: UnhosedConfigParser, name: str) -> list[str]:
    """The arguments that supervisord would start a program with."""
    return shlex.split(expand(parser.get(f"program:{name}", "command"), {}, "command"))


def test_groups_stop_in_the_order_faces_workers_redis() -> None:
    parser = parsed(REDIS, WORKER, WEB)
    priority = {name: parser.getint(f"group:{name}", "priority") for name in ("redis", "workers", "faces")}
    # supervisord stops the highest priority first and waits for it.
    assert priority["faces"] > priority["workers"] > priority["redis"]
    assert parser.get("group:workers", "programs") == "gpu-worker"


def test_programs_come_back_and_are_drained_by_their_parent() -> None:
    parser = parsed(WEB)
    section = dict(parser.items("program:web"))
    assert section["autorestart"] == "true"
    assert section["stopasgroup"] == "false"
    assert section["killasgroup"] == "true"
    assert section["stdout_logfile"] == "/data/logs/web.log"
    assert parser.get("unix_http_server", "chmod") == "0700"


def test_a_tier_without_programs_has_no_group() -> None:
    assert not parsed(WEB).has_section("group:redis")


def test_root_is_said_outright() -> None:
    assert parsed(WEB, as_root=True).get("supervisord", "user") == "root"
    assert not parsed(WEB).has_option("supervisord", "user")


@given(st.lists(st.text(alphabet=string.ascii_letters + "%/'\"\\$-=@ ", min_size=1), min_size=1, max_size=4))
def test_arguments_arrive_as_they_were(extra: list[str]) -> None:
    argv = ("serve", *extra)
    assert command(parsed(Program(name="web", argv=argv)), "web") == list(argv)


@pytest.mark.parametrize("argument", ["a ;b", "a #b", "a\nb"])
def test_what_would_become_a_comment_is_refused(argument: str) -> None:
    with pytest.raises(LaunchError):
        parsed(Program(name="web", argv=("serve", argument)))


@pytest.mark.parametrize("role", list(RedisRole))
def test_redis_reads_a_folder_with_blanks_and_quotes(role: RedisRole, tmp_path: Path) -> None:
    server = RedisServer(role=role)
    server.directory.rmdir()
    server.directory = tmp_path / 'a "quoted" folder'
    server.directory.mkdir()
    with server:
        assert server.client().config_get("dir") == {"dir": str(server.directory)}
