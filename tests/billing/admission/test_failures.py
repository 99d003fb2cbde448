"""Redis stopped, frozen, full, read-only or restarted: closed at once, nothing charged, and back without help."""

import gc
import time
from collections.abc import Iterator

import pytest
import redis
from django.db import OperationalError
from prometheus_client import REGISTRY
from redis import exceptions as errors
from redis.backoff import NoBackoff
from redis.retry import Retry

from billing.admission import LimitKind, Settled, server_clock
from billing.admission.failures import reason_of
from billing.admission.server_clock import ServerClock
from mlplatform.lib import clock, tally
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.billing.admission.world import SECOND, World, limit
from tests.support.redis_server import RedisServer, free_port

MONTH = limit(LimitKind.MONTHLY, 1000)


@pytest.fixture
def acme(server: RedisServer, hasty_redis_clients: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Acme on the server's own clock, through a client as impatient as that of production."""
    monkeypatch.setattr(server_clock, "OF_STATE", ServerClock())
    with server.client(socket_timeout=0.2) as client:
        yield World(client)
    bring_back(server)


def bring_back(server: RedisServer) -> None:
    """Start the server if it is stopped, and wait until it has read its files."""
    server.start()
    with server.client() as client:
        while client.info("persistence")["loading"]:
            time.sleep(0.01)


def failures(reason: str) -> float:
    return REGISTRY.get_sample_value("mlplatform_admission_failures_total", {"reason": reason}) or 0.0


def outcomes(outcome: str) -> float:
    tally.flush()
    return REGISTRY.get_sample_value("mlplatform_admissions_total", {"outcome": outcome}) or 0.0


def scripts_run(client: redis.Redis) -> int:
    """How many scripts the server was sent by SHA-1 since its statistics were reset."""
    return int(client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def assert_unavailable(caught: "pytest.ExceptionInfo[PlatformError]") -> None:
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    assert caught.value.retry_after_s == 1.0


def test_stopped_server_closes_every_call_and_serves_again_when_it_is_back(acme: World, server: RedisServer) -> None:
    (hold,) = acme.admit([MONTH], 10).hold_ids
    before = failures("connection")
    server.stop()
    for attempt in (
        lambda: acme.admit([MONTH], 1),
        lambda: acme.admit([MONTH], 1, settle_now=True),
        lambda: acme.peek([MONTH]),
        lambda: acme.settle(hold),
        lambda: acme.release(hold),
        lambda: acme.explain("req-1"),
    ):
        with pytest.raises(PlatformError) as caught:
            attempt()
        assert_unavailable(caught)
    assert failures("connection") == before + 6
    bring_back(server)
    assert acme.remaining(MONTH) == [990]
    assert acme.settle(hold) == (Settled.NOW,)
    assert acme.usage() == [(hold, 10)]


def test_restarted_server_costs_no_caller_an_error(acme: World, server: RedisServer) -> None:
    """The kept connection is found closed before anything is sent on it, and the script is sent anew."""
    acme.admit([MONTH], 10)
    server.stop()
    bring_back(server)
    assert acme.admit([MONTH], 10).granted
    assert acme.remaining(MONTH) == [980]


def test_server_that_refuses_the_password_closes_every_call_and_says_why(
    acme: World, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    (hold,) = acme.admit([MONTH], 10).hold_ids
    before = failures("authentication")
    with server.refusing():
        for attempt in (lambda: acme.admit([MONTH], 1), lambda: acme.settle(hold), lambda: acme.release(hold)):
            with pytest.raises(PlatformError) as caught:
                attempt()
            assert_unavailable(caught)
    assert failures("authentication") == before + 3
    assert "Redis refuses the password" in caplog.text
    assert server.password not in caplog.text
    assert acme.remaining(MONTH) == [990]
    assert acme.settle(hold) == (Settled.NOW,)


def test_frozen_server_takes_nothing_when_it_wakes_for_a_call_that_gave_up(acme: World, server: RedisServer) -> None:
    acme.admit([MONTH], 10)  # From now on the server's clock is known.
    before = acme.snapshot()
    timeouts = failures("timeout")
    server.pause()
    try:
        for settle_now in (True, False):
            with pytest.raises(PlatformError) as caught:
                acme.admit([MONTH], 7, settle_now=settle_now)
            assert_unavailable(caught)
    finally:
        server.resume()
    assert failures("timeout") == timeouts + 2
    with server.client() as patient:
        patient.ping()
    assert acme.snapshot() == before


def test_frozen_server_that_was_never_heard_of_takes_one_hold_which_its_release_gives_back(
    acme: World, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    charge = acme.charge(7)
    rule = limit(LimitKind.FIXED_WINDOW, 100, window_s=10**9)
    acme.peek([rule])
    acme.client.config_resetstat()
    monkeypatch.setattr(server_clock, "OF_STATE", ServerClock())
    server.pause()
    try:
        with pytest.raises(PlatformError) as caught:
            acme.admit([rule], charge)
        assert_unavailable(caught)
    finally:
        server.resume()
    with server.client() as patient:
        patient.ping()
        assert scripts_run(patient) == 1
    assert acme.holds() == {charge.hold_id}
    assert acme.admit([rule], charge).granted
    assert acme.remaining(rule) == [93]
    assert acme.release(charge.hold_id) == 1
    assert acme.remaining(rule) == [100]
    assert acme.usage() == []


def test_answer_that_came_too_late_is_not_taken_for_the_next_one(acme: World, server: RedisServer) -> None:
    acme.admit([MONTH], 10)
    server.pause()
    try:
        with pytest.raises(PlatformError):
            acme.peek([MONTH])
    finally:
        server.resume()
    with server.client() as patient:
        patient.ping()
    decision = acme.admit([MONTH], 1)
    assert decision.granted
    assert [state.remaining for state in decision.states] == [989]


def test_no_server_listens(acme: World) -> None:
    acme.client = redis.Redis(port=free_port(), socket_timeout=0.2, retry=Retry(NoBackoff(), 0))
    with pytest.raises(PlatformError) as caught:
        acme.admit([MONTH], 1)
    assert_unavailable(caught)


def test_full_server_admits_nothing_but_settles_and_releases(acme: World) -> None:
    first, second = acme.admit([MONTH], 10, 20).hold_ids
    before, full = acme.snapshot(), failures("out_of_memory")
    acme.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(PlatformError) as caught:
            acme.admit([MONTH], 1)
        assert_unavailable(caught)
        assert acme.snapshot() == before
        assert acme.settle(first) == (Settled.NOW,)
        assert acme.release(second) == 1
    finally:
        acme.client.config_set("maxmemory", 0)
    assert failures("out_of_memory") == full + 1
    assert acme.usage() == [(first, 10)]
    assert acme.remaining(MONTH) == [990]


def test_replica_that_must_not_be_written_admits_nothing(acme: World) -> None:
    acme.admit([MONTH], 10)
    before, readonly = acme.snapshot(), failures("readonly")
    acme.client.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
    try:
        with pytest.raises(PlatformError) as caught:
            acme.admit([MONTH], 1)
        assert_unavailable(caught)
    finally:
        acme.client.execute_command("REPLICAOF", "NO", "ONE")
    assert failures("readonly") == readonly + 1
    assert acme.snapshot() == before


def test_admission_is_one_round_trip(acme: World) -> None:
    acme.admit([MONTH], 1)
    gc.collect()  # The end of a connection that a test before has left counts as a read.
    acme.client.config_resetstat()
    acme.admit([MONTH], 1)
    acme.admit([MONTH], 2000)
    acme.admit([MONTH], 1, settle_now=True)
    assert acme.client.info("stats")["total_reads_processed"] == 3 + 1  # the last is this question itself
    assert scripts_run(acme.client) == 3


def test_server_that_forgot_its_scripts_is_sent_the_text_once(acme: World) -> None:
    acme.admit([MONTH], 1)
    acme.client.script_flush()
    assert acme.admit([MONTH], 1).granted
    assert acme.remaining(MONTH) == [998]


def test_ledger_that_is_down_keeps_admission_closed(acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OperationalError("no ledger")

    before = failures("ledger")
    monkeypatch.setattr(acme, "month_to_date", broken)
    with pytest.raises(PlatformError) as caught:
        acme.admit([MONTH], 1)
    assert_unavailable(caught)
    assert failures("ledger") == before + 1
    assert acme.holds() == set()


def test_outcomes_are_counted(acme: World) -> None:
    granted, refused = outcomes("granted"), outcomes("refused")
    acme.admit([MONTH], 1)
    acme.admit([MONTH], 2000)
    assert (outcomes("granted"), outcomes("refused")) == (granted + 1, refused + 1)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.BusyLoadingError("LOADING"), "loading"),
        (errors.TimeoutError("slow"), "timeout"),
        (errors.ReadOnlyError("READONLY"), "readonly"),
        (errors.OutOfMemoryError("OOM"), "out_of_memory"),
        (errors.AuthenticationError("NOAUTH"), "authentication"),
        (errors.NoPermissionError("NOPERM"), "authentication"),
        (errors.ConnectionError("refused"), "connection"),
        (errors.ResponseError("ERR user_script:1"), "refused_by_server"),
        (ConnectionResetError(), "connection"),
        (errors.RedisError(), "other"),
    ],
)
def test_every_failure_has_a_reason(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


def test_server_clock_is_unknown_until_it_is_heard() -> None:
    assert ServerClock().deadline_us(patience_s=1.0) == 0


def test_server_clock_keeps_the_quickest_answer_for_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that took long to arrive makes the server look slow, so it must not shorten deadlines."""
    seconds = iter([100.0, 100.0, 103.0, 103.0, 111.0, 111.0, 111.0])
    monkeypatch.setattr(clock, "monotonic", lambda: next(seconds))
    server_clock = ServerClock()
    server_clock.learn(1000 * SECOND)
    assert server_clock.deadline_us(patience_s=0.5) == 1000 * SECOND + SECOND // 2
    server_clock.learn(1002 * SECOND)
    assert server_clock.deadline_us(patience_s=0.0) == 1003 * SECOND
    server_clock.learn(1010 * SECOND)
    assert server_clock.deadline_us(patience_s=0.0) == 1010 * SECOND


def test_server_clock_that_was_set_forward_is_learnt_anew_by_one_more_try(
    acme: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = ServerClock()
    behind.learn(int(time.time() * SECOND) - 3600 * SECOND)
    monkeypatch.setattr(server_clock, "OF_STATE", behind)
    assert acme.admit([MONTH], 1).granted
    assert acme.remaining(MONTH) == [999]
