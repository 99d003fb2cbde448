"""Values that a process remembers: until their time is over, and no more than so many."""

import threading

import pytest

from mlplatform.lib import clock
from mlplatform.lib.ttl_cache import TTLCache


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The moment on the monotonic clock, to be changed by the test."""
    moment = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: moment[0])
    return moment


def test_a_value_is_found_until_its_time_is_over(at: list[float]) -> None:
    cache: TTLCache[str, int] = TTLCache(10)
    cache.put("one", 1, ttl_s=30.0)
    at[0] += 29.999
    assert cache.get("one") == 1
    at[0] = 1030.0
    assert cache.get("one") is None
    cache.put("one", 2, ttl_s=30.0)
    assert (cache.get("one"), len(cache)) == (2, 1)


def test_each_value_has_a_time_of_its_own(at: list[float]) -> None:
    cache: TTLCache[str, int] = TTLCache(10)
    cache.put("short", 1, ttl_s=5.0)
    cache.put("long", 2, ttl_s=30.0)
    at[0] += 5.0
    assert (cache.get("short"), cache.get("long")) == (None, 2)


def test_the_one_that_was_put_longest_ago_goes_however_often_it_was_read() -> None:
    cache: TTLCache[str, int] = TTLCache(2)
    cache.put("first", 1, ttl_s=30.0)
    cache.put("second", 2, ttl_s=30.0)
    assert cache.get("first") == 1
    cache.put("third", 3, ttl_s=30.0)
    assert (cache.get("first"), cache.get("second"), cache.get("third")) == (None, 2, 3)


def test_one_that_is_put_again_is_new() -> None:
    cache: TTLCache[str, int] = TTLCache(2)
    cache.put("first", 1, ttl_s=30.0)
    cache.put("second", 2, ttl_s=30.0)
    cache.put("first", 1, ttl_s=30.0)
    cache.put("third", 3, ttl_s=30.0)
    assert (cache.get("first"), cache.get("second")) == (1, None)


def test_dropping_and_clearing() -> None:
    cache: TTLCache[str, int] = TTLCache(10)
    cache.put("first", 1, ttl_s=30.0)
    cache.put("second", 2, ttl_s=30.0)
    cache.drop("first")
    cache.drop("first")
    assert (cache.get("first"), cache.get("second")) == (None, 2)
    cache.clear()
    assert (cache.get("second"), len(cache)) == (None, 0)


def test_threads_that_put_at_once_stay_within_the_bound() -> None:
    cache: TTLCache[tuple[int, int], int] = TTLCache(50)

    def write(thread: int) -> None:
        for number in range(2_000):
            cache.put((thread, number), number, ttl_s=30.0)
            cache.get((thread, number - 1))

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) == 50
