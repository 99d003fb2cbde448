"""Claims on computations in a real Redis: taken once, renewed and ended only by whom they belong to."""

from collections.abc import Sequence

import pytest

from inference.batching.work import Hold
from inference.cache import leases, store
from inference.cache.store import Entry
from inference.cache.waiters import SharedWork
from mlplatform.lib import clock, redis
from mlplatform.lib.errors import unavailable
from tests.inference.engine.test_predict import eventually
from tests.support.on_loop import asked, turn
from tests.support.redis_server import RedisServer


def work(key: bytes, hold_id: str = "hold") -> SharedWork:
    return SharedWork(b"payload", key, Hold(hold_id, 1, 1), clock.monotonic() + 30)


def take(works: Sequence[SharedWork]) -> list[Entry | bool]:
    return asked(lambda done: leases.take(works, done))


def left_s(key: bytes) -> float:
    return redis.cache().pttl(store.CLAIM + key) / 1000


def test_the_first_one_computes_and_the_others_wait() -> None:
    assert take([work(b"a", "one"), work(b"b", "one")]) == [True, True]
    assert take([work(b"b", "two"), work(b"c", "two")]) == [False, True]
    assert 0 < left_s(b"a") <= leases.LEASE_S


def test_an_answer_that_is_there_is_found_and_claims_nothing() -> None:
    store.keep({b"a": b"scores"}, ttl_s=60)
    (found,) = take([work(b"a")])
    assert isinstance(found, Entry)
    assert found.scores == b"scores"
    assert redis.cache().exists(store.CLAIM + b"a") == 0


def test_what_nobody_of_us_wrote_does_not_keep_an_input_from_being_computed() -> None:
    redis.cache().set(store.ENTRY + b"a", b"short")
    assert take([work(b"a")]) == [True]


def test_a_claim_ends_with_the_failure_or_with_the_last_who_waited() -> None:
    failed, left, joined, answered = works = [work(key) for key in (b"failed", b"left", b"joined", b"answered")]
    take(works)
    failed.fail(unavailable("away"))
    left.leave()
    assert joined.join(clock.monotonic() + 30)
    joined.leave()
    answered.succeed(b"scores")
    turn(leases.end, works)
    eventually(lambda: redis.cache().exists(store.CLAIM + b"failed", store.CLAIM + b"left") == 0)
    assert redis.cache().exists(store.CLAIM + b"joined") == 1, "one still waits for it"
    assert redis.cache().exists(store.CLAIM + b"answered") == 1, "its worker ends it, when the answer is kept"
    joined.leave()
    turn(leases.renew)
    eventually(lambda: redis.cache().exists(store.CLAIM + b"joined") == 0)


def test_a_claim_is_renewed_while_its_computation_runs() -> None:
    running, done = work(b"running"), work(b"done")
    take([running, done])
    done.succeed(b"scores")
    for key in (b"running", b"done"):
        redis.cache().pexpire(store.CLAIM + key, 1500)
    turn(leases.renew)
    eventually(lambda: left_s(b"running") > 1.5)
    assert left_s(b"done") <= 1.5
    assert leases.held() == [b"running"]


def test_a_claim_that_another_process_has_by_now_is_left_to_it() -> None:
    mine = work(b"a", "mine")
    take([mine])
    redis.cache().set(store.CLAIM + b"a", b"theirs", px=1500)
    mine.fail(unavailable("away"))
    turn(leases.end, [mine])
    assert redis.cache().get(store.CLAIM + b"a") == b"theirs"
    again = work(b"b", "mine")
    take([again])
    redis.cache().set(store.CLAIM + b"b", b"theirs", px=1500)
    turn(leases.renew)
    eventually(lambda: leases.held() == [])
    assert left_s(b"b") <= 1.5


@pytest.mark.usefixtures("hasty_redis_clients")
@pytest.mark.parametrize("way", ["stop", "pause"])
def test_without_the_cache_redis_everything_is_computed_and_it_is_asked_once(
    cache_redis: RedisServer, way: str
) -> None:
    running = work(b"a")
    take([running])
    {"stop": cache_redis.stop, "pause": cache_redis.pause}[way]()
    try:
        assert take([work(b"b"), work(b"c")]) == [True, True]
        assert store.is_away()
        turn(leases.renew)
        running.fail(unavailable("away"))
        turn(leases.end, [running])
    finally:
        if way == "pause":
            cache_redis.resume()
    assert running.abandoned
    assert b"a" not in leases.held()


def test_a_server_that_forgot_its_scripts_is_told_again() -> None:
    redis.cache().script_flush()
    assert take([work(b"a")]) == [True]
