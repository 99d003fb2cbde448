"""The page "Traffic": calls by hour and by how they ended."""

import datetime as dt
import re
from collections.abc import Iterator

import pytest
from django.test import Client

from mlplatform.lib import clock, redis
from mlplatform.observability import traffic
from tests.support import staff
from tests.support.redis_server import RedisServer

PAGE = "/admin/traffic/"
NOON = dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC)


@pytest.fixture
def admin(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Staff without any role, at noon, in a quiet world."""
    client = staff.signed_in(staff.with_role(""))
    traffic.forget()
    redis.state().flushall()
    monkeypatch.setattr(clock, "now", lambda: NOON)
    yield client
    traffic.forget()


def cells(page: str) -> dict[str, list[str]]:
    rows = re.findall(r'<th scope="row"[^>]*>([^<]*)</th>(.*?)</tr>', page, flags=re.DOTALL)
    return {title: re.findall(r"<td[^>]*>([^<]*)</td>", rest) for title, rest in rows}


def test_hours_are_told_by_how_their_calls_ended(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for status in (200, 200, 404, 429, 500):
        traffic.count(status)
    monkeypatch.setattr(clock, "now", lambda: NOON - dt.timedelta(hours=2))
    traffic.count(503, brownout=True)
    traffic.gather()
    monkeypatch.setattr(clock, "now", lambda: NOON)
    page = admin.get(PAGE).content.decode()
    assert cells(page) == {
        "12:00–13:00": ["5", "2", "1", "1", "1", "20.00 %", "0"],
        "10:00–11:00": ["1", "0", "0", "0", "0", "0.00 %", "1"],
        "All": ["6", "2", "1", "1", "1", "20.00 %", "1"],
    }
    assert "10:00–11:00: 1 in a brownout" in page


def test_days_before_are_kept_for_a_while(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOON - dt.timedelta(days=2))
    traffic.count(200)
    traffic.gather()
    monkeypatch.setattr(clock, "now", lambda: NOON)
    assert "No call on this day." in admin.get(PAGE).content.decode()
    assert cells(admin.get(PAGE, {"day": "2026-02-27"}).content.decode())["All"][0] == "1"
    for strange in ("2020-01-01", "x", ""):
        assert "No call on this day." in admin.get(PAGE, {"day": strange}).content.decode()


def test_without_redis_it_says_so(admin: Client, state_redis: RedisServer) -> None:
    state_redis.stop()
    answer = admin.get(PAGE)
    assert answer.status_code == 200
    assert "nothing is known of the traffic" in answer.content.decode()


def test_only_staff_see_it(db: None) -> None:
    answer = Client().get(PAGE)
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/login/?next={PAGE}")
