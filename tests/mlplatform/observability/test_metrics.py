"""``/metrics``: for this machine, or for who has the token."""

import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.support.rest import Api


def test_this_machine_may_read() -> None:
    answer = Api().get("/metrics", REMOTE_ADDR="127.0.0.1")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert b"# TYPE mlplatform_admissions_total counter" in answer.content


@pytest.mark.parametrize("address", ["::1", "127.8.8.8"])
def test_loopback_has_many_names(address: str) -> None:
    assert Api().get("/metrics", REMOTE_ADDR=address).status == 200


@pytest.mark.parametrize("address", ["203.0.113.9", "10.0.0.1", "", "nonsense"])
def test_others_may_not(address: str) -> None:
    answer = Api().get("/metrics", REMOTE_ADDR=address)
    assert answer.status == 404
    assert b"mlplatform_" not in answer.content


def test_behind_a_proxy_every_client_looks_local(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = 1
    assert Api().get("/metrics", REMOTE_ADDR="127.0.0.1").status == 404


@pytest.mark.parametrize(
    ("authorization", "status"),
    [("Bearer opensesame", 200), ("Bearer opensesam", 404), ("Bearer ", 404), ("", 404), ("Bearer öpensesame", 404)],
)
def test_a_token_opens_from_anywhere(settings: Settings, authorization: str, status: int) -> None:
    settings.METRICS_TOKEN = "opensesame"
    for address in ("127.0.0.1", "203.0.113.9"):
        headers = {"authorization": authorization}
        assert Api().get("/metrics", headers=headers, REMOTE_ADDR=address).status == status


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "via", "x-real-ip", "x-forwarded-proto"])
def test_what_came_through_a_proxy_is_not_of_this_machine(header: str) -> None:
    """Also where the operator has not said yet that there is one."""
    answer = Api().get("/metrics", headers={header: "203.0.113.9"}, REMOTE_ADDR="127.0.0.1")
    assert answer.status == 404
    assert b"mlplatform_" not in answer.content


@pytest.mark.parametrize(
    ("base_url", "status"),
    [
        ("http://127.0.0.1:8000", 200), ("http://localhost:8000", 200), ("http://[::1]:8000", 200), ("http://0.0.0.0:8000", 200),
        ("https://localhost", 404), ("https://ml.example", 404), ("http://ml.example", 404), ("http://203.0.113.7", 404),
    ],
)  # fmt: skip
def test_a_proxy_that_adds_no_header_opens_nothing(settings: Settings, base_url: str, status: int) -> None:
    """As nginx is by itself: the peer is loopback, nothing was forwarded, and TRUSTED_PROXIES is not set."""
    settings.BASE_URL = base_url
    answer = Api().get("/metrics", REMOTE_ADDR="127.0.0.1")
    assert answer.status == status
    assert (b"mlplatform_" in answer.content) is (status == 200)
    settings.METRICS_TOKEN = "opensesame"
    opened = Api().get("/metrics", headers={"authorization": "Bearer opensesame"}, REMOTE_ADDR="127.0.0.1")
    assert opened.status == 200


def test_what_a_killed_process_had_is_forgotten_and_what_it_counted_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
from prometheus_client import Counter, Gauge
Counter("answers", "").inc(3)
Gauge("connections", "", multiprocess_mode="livesum").set(7)
print(flush=True)
input()
"""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    command = [sys.executable, "-c", program]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    running = Api().get("/metrics", REMOTE_ADDR="127.0.0.1").content
    child.kill()
    child.communicate()
    ended = Api().get("/metrics", REMOTE_ADDR="127.0.0.1").content
    assert b"answers_total 3.0" in running
    assert b"connections 7.0" in running
    assert b"answers_total 3.0" in ended
    assert b"connections" not in ended
