"""Two levels of answers: bounded, ending in time, and absent without an error when Redis is."""

import datetime as dt
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from pytest_django import Settings

from inference.cache import links, store
from inference.cache.store import Entry, LocalCache
from mlplatform.lib import clock, redis
from tests.support.cached import get_many
from tests.support.redis_server import RedisServer

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
OVERHEAD = store.OVERHEAD_BYTES


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 0)


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOON + dt.timedelta(seconds=seconds))


def entry(size: int = 8, *, fill: bytes = b"s") -> Entry:
    start = NOON.timestamp()
    return Entry(scores=fill * size, computed_at=start, expires_at=start + 1000)


def failures(call: str) -> float:
    return REGISTRY.get_sample_value("mlplatform_cache_failures_total", {"call": call}) or 0.0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=40))
def test_the_local_cache_never_exceeds_its_bytes_and_drops_the_least_recently_used(
    puts: list[tuple[int, int]],
) -> None:
    small = LocalCache(3 * OVERHEAD + 60)
    order: list[tuple[bytes, int]] = []
    for number, size in puts:
        key = bytes([number])
        small.put(key, entry(size))
        order = [pair for pair in order if pair[0] != key] + [(key, size)]
        while sum(size + OVERHEAD for _, size in order) > 3 * OVERHEAD + 60:
            order.pop(0)
        assert len(small) == len(order)
        assert small.bytes == sum(size + OVERHEAD for _, size in order)
    for key, size in order:
        found = small.get(key)
        assert found is not None
        assert len(found.scores) == size


def test_what_was_used_stays_longest() -> None:
    small = LocalCache(2 * (OVERHEAD + 8))
    small.put(b"a", entry())
    small.put(b"b", entry())
    assert small.get(b"a")
    small.put(b"c", entry())
    assert [small.get(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]


def test_an_entry_that_does_not_fit_drives_out_nothing() -> None:
    small = LocalCache(OVERHEAD + 8)
    small.put(b"a", entry())
    small.put(b"b", entry(9))
    assert small.get(b"a") is not None
    assert small.get(b"b") is None
    small.put(b"a", entry(9))
    assert small.get(b"a") is None, "it was replaced by what could not be kept"
    assert small.bytes == 0


def test_an_answer_ends_with_its_time_to_live_in_both_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    store.keep({b"k": b"scores"}, ttl_s=60)
    at(monkeypatch, 59)
    found = get_many([b"k"])[b"k"]
    assert (found.scores, found.age_s()) == (b"scores", 59)
    assert redis.cache().ttl(b"p:k") in {59, 60}
    redis.cache().flushall()
    assert get_many([b"k"])[b"k"] == found, "this process keeps it too"
    at(monkeypatch, 60)
    assert get_many([b"k"]) == {}
    assert len(store.local) == 0


def test_what_this_process_holds_costs_no_round_trip_and_the_rest_costs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_local(b"here", b"1", ttl_s=60)
    store.keep({b"there": b"2", b"also": b"3"}, ttl_s=60)
    calls: list[tuple[str | bytes, ...]] = []
    real = links.ask

    def ask(command: Sequence[str | bytes], done: links.Done) -> None:
        calls.append(tuple(command))
        real(command, done)

    monkeypatch.setattr(links, "ask", ask)
    assert get_many([b"here"])[b"here"].scores == b"1"
    assert calls == []
    found = get_many([b"here", b"there", b"also", b"nowhere"])
    assert {key: value.scores for key, value in found.items()} == {b"here": b"1", b"there": b"2", b"also": b"3"}
    assert calls == [("MGET", b"p:there", b"p:also", b"p:nowhere")]
    get_many([b"there", b"also"])
    assert len(calls) == 1


def test_a_cache_that_is_down_is_a_miss_and_a_metric(cache_redis: RedisServer) -> None:
    before = (failures("get"), failures("put"))
    cache_redis.stop()
    assert get_many([b"k"]) == {}
    store.keep({b"k": b"s"}, ttl_s=60)
    assert (failures("get"), failures("put")) == (before[0] + 1, before[1] + 1)
    cache_redis.start()
    store.keep({b"k": b"s"}, ttl_s=60)
    assert get_many([b"k"])[b"k"].scores == b"s"


@pytest.mark.usefixtures("hasty_redis_clients")
def test_a_stalled_cache_is_a_miss_too(cache_redis: RedisServer) -> None:
    before = failures("get")
    cache_redis.pause()
    try:
        assert get_many([b"k"]) == {}
    finally:
        cache_redis.resume()
    assert failures("get") == before + 1


def test_what_failed_a_moment_ago_is_not_asked_again_by_those_who_can_do_without(cache_redis: RedisServer) -> None:
    assert not store.is_away()
    cache_redis.stop()
    get_many([b"k"])
    assert store.is_away()
    store.forget()
    assert not store.is_away()


def test_keeping_an_answer_ends_the_claims_on_it_and_no_other() -> None:
    redis.cache().mset({b"c:k": b"hold-1", b"c:other": b"hold-2"})
    store.keep({b"k": b"s"}, ttl_s=60)
    assert redis.cache().exists(b"c:k") == 0
    assert redis.cache().get(b"c:other") == b"hold-2"


def test_only_answers_of_a_bounded_size_are_kept(settings: Settings) -> None:
    settings.MAX_CACHED_ENTRY_BYTES = 4096
    assert store.fits(1024)
    assert not store.fits(1025)


def test_nothing_is_kept_without_a_time_to_live() -> None:
    store.keep({b"k": b"s"}, ttl_s=0)
    store.keep({}, ttl_s=60)
    assert redis.cache().dbsize() == 0


def test_a_value_that_nobody_of_us_wrote_is_a_miss() -> None:
    redis.cache().set(b"p:k", b"short")
    assert get_many([b"k"]) == {}


def test_clear_forgets_all() -> None:
    store.put_local(b"k", b"s", ttl_s=60)
    store.forget()
    assert (len(store.local), store.local.bytes) == (0, 0)
