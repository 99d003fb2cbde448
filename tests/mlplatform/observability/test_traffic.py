"""Calls are counted in memory and gathered in Redis; a failing Redis loses none."""

import datetime as dt
from collections.abc import Iterator

import pytest

from mlplatform.lib import clock, redis
from mlplatform.observability import traffic
from mlplatform.observability.traffic import Counts
from tests.support.redis_server import RedisServer

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def nothing_counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    traffic.gather()
    redis.state().flushall()
    monkeypatch.setattr(clock, "now", lambda: NOON)
    yield
    traffic.gather()


def test_calls_are_summed_by_day_hour_and_class(monkeypatch: pytest.MonkeyPatch) -> None:
    for status in (200, 204, 301, 404, 429, 500, 503):
        traffic.count(status)
    traffic.count(503, brownout=True)
    assert traffic.today().total.requests == 0, "not yet gathered"
    traffic.gather()
    monkeypatch.setattr(clock, "now", lambda: NOON + dt.timedelta(hours=11, minutes=59))
    traffic.count(200)
    monkeypatch.setattr(clock, "now", lambda: NOON + dt.timedelta(hours=12))
    traffic.count(503)
    traffic.gather()
    day = traffic.of_day(NOON.date())
    assert day.total == Counts(answered=4, refused=1, over_limit=1, failed=2, brownouts=1)
    assert (day.per_hour[12].requests, day.per_hour[23].requests, day.total.requests, len(day.per_hour)) == (
        8,
        1,
        9,
        24,
    )
    assert day.total.error_rate == 0.25, "two of the eight calls that no brownout was planned for"
    assert (traffic.today().total.requests, traffic.today().total.error_rate) == (1, 1.0)
    assert traffic.of_day(dt.date(2020, 1, 1)).total.error_rate == 0.0
    assert traffic.latest(1) == traffic.today().total
    assert traffic.latest(2).requests == 2, "the last hour of yesterday too"
    assert all(0 < redis.state().ttl(key) <= 3 * 86_400 for key in redis.state().keys("traffic:*"))


def test_while_redis_is_away_counts_are_kept_and_grow(state_redis: RedisServer) -> None:
    traffic.count(200)
    state_redis.stop()
    traffic.gather()
    traffic.count(200)
    traffic.gather()
    state_redis.start()
    traffic.gather()
    traffic.gather()
    assert traffic.today().total.requests == 2
