"""What the launcher tells: which check is still waiting, what a log ends with, what is new in it."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

import pytest

from mlplatform.run import readiness, setup_steps, summary
from mlplatform.run.environment import read
from mlplatform.run.log_files import LogTail, is_bad, last_lines
from mlplatform.run.problems import LaunchError
from mlplatform.run.setup_steps import Step
from tests.support.redis_server import free_port


@pytest.mark.parametrize(
    ("body", "waiting"),
    [
        ({"checks": {"sql": "ok", "gpu-worker": "no worker gives a sign of life"}}, ("gpu-worker",)),
        ({"checks": {"sql": {"ok": True}, "redis": {"status": "down"}}}, ("redis",)),
        ({"checks": {"sql": False, "redis": True}}, ("sql",)),
        ({"checks": {}}, ("/readyz (it answers 503)",)),
        (["odd"], ("/readyz (it answers 503)",)),
    ],
)
def test_checks_that_have_not_passed_are_named(body: object, waiting: tuple[str, ...]) -> None:
    assert readiness.unready_checks(json.dumps(body).encode(), status=503) == waiting


def test_no_answer_is_waiting_for_web() -> None:
    assert readiness.unready_checks(b"<html>", status=502) == ("/readyz (it answers 502)",)
    assert readiness.waiting_for(f"http://127.0.0.1:{free_port()}") == ("web",)


def test_no_answer_is_waiting_for_grpc(tmp_path: Path) -> None:
    port = str(free_port())
    assert readiness.waiting_for_grpc(read({"DATA_DIR": str(tmp_path), "GRPC_PORT": port})) == ("grpc",)
    tls = read({"DATA_DIR": str(tmp_path), "GRPC_PORT": port, "GRPC_TLS_CERT": "cert.pem"})
    assert readiness.waiting_for_grpc(tls) == ("grpc",)
    with socket.create_server(("127.0.0.1", int(port))):
        assert readiness.waiting_for_grpc(tls) == ()


def test_a_log_ends_with_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_lines(log) == []
    log.write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert last_lines(log, 2) == ["    line 9998", "    line 9999"]


def test_a_tail_yields_whole_new_lines_over_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    tail = LogTail(log)
    assert list(tail.new_lines()) == []
    with log.open("a") as file:
        file.write("new\nhalf")
    assert list(tail.new_lines()) == ["new"]
    with log.open("a") as file:
        file.write(" whole\n")
    assert list(tail.new_lines()) == ["half whole"]
    log.rename(tmp_path / "log.1")
    assert list(tail.new_lines()) == []
    log.write_text("rotated\n")
    assert list(tail.new_lines()) == ["rotated"]


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("2026-11-22 20:16:24,895 WARNING celery [-] slow", True),
        ("2026-11-22 20:16:24,895 ERROR django.request [-] broke", True),
        ("[WARNING] Configuration", True),
        ("2026-11-22 20:16:24,895 INFO web [-] " + "x" * 120 + " ERROR", False),
        ("no errors here", False),
    ],
)
def test_bad_lines_are_known_by_their_level(line: str, bad: bool) -> None:
    assert is_bad(line) is bad


def test_a_failing_step_is_announced_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[dict[str, str]] = []
    assert setup_steps.perform([Step("no_such_command", "Trying")], told.append) == 1
    assert told[-1]["failed"] == "no_such_command"
    assert "CommandError" in told[-1]["reason"]
    assert "\n" not in told[-1]["reason"]
    assert "Traceback" in capfd.readouterr().err


def test_the_table_holds_logins_and_lines_to_paste(tmp_path: Path) -> None:
    plan = read({"DATA_DIR": str(tmp_path)})
    with pytest.raises(LaunchError):
        summary.render(plan)
    demo = {
        "base_url": "http://127.0.0.1:8000",
        "tenants": {"acme": {"api_key": "mlp_live_a"}, "globex": {"api_key": "mlp_live_g"}},
        "admin_url": "http://127.0.0.1:8000/admin/",
        "admin_username": "admin@example.com",
        "admin_password": "pw-of-the-admin",
    }
    (tmp_path / "demo.json").write_text(json.dumps(demo))
    table = summary.render(plan)
    for expected in ("http://127.0.0.1:8000/admin/", "pw-of-the-admin", "mlp_live_g", "/docs"):
        assert expected in table
    assert "curl -s http://127.0.0.1:8000/v2/predict -H 'Authorization: Bearer mlp_live_a'" in table
    assert "127.0.0.1:50051 (plain text)" in table
    assert "grpcurl -plaintext -H 'Authorization: Bearer mlp_live_a' -d" in table
    assert stat.S_ISREG((tmp_path / "demo.json").stat().st_mode)
