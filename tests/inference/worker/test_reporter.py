"""The end of a batch: answered before it is kept, in order, on a thread of its own, and nothing is lost when it stops."""

import dataclasses
import threading
import time
from collections.abc import Mapping

import pytest

from inference.batching.messages import BatchReply, ItemMessage, decode_reply
from inference.cache import store
from inference.types import TextLength
from inference.worker import reporter
from inference.worker.reporter import Report, ReportingThread
from inference.worker.settlement import Settling
from mlplatform.lib import redis
from tests.support.cached import get_many
from tests.support.redis_server import RedisServer

REPLY_TO = "reply:test"


def report(number: int) -> Report:
    key = b"key %d" % number
    item = ItemMessage(b"tx", key, "", 1, 0)
    reply = BatchReply(batch_id=f"batch-{number}", worker="me", results=[b"1234"])
    return Report(reply_to=REPLY_TO, reply=reply, done=[item], entries={key: b"1234"}, cache_ttl_s=60)


def replied() -> list[str]:
    return [decode_reply(redis.as_bytes(body)).batch_id for body in redis.state().lrange(REPLY_TO, 0, -1)]


def test_the_answer_leaves_before_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    keep = store.keep

    def watched(entries: dict[bytes, bytes], *, ttl_s: int, lengths: Mapping[bytes, TextLength]) -> None:
        seen.append(replied())
        keep(entries, ttl_s=ttl_s, lengths=lengths)

    monkeypatch.setattr(store, "keep", watched)
    report(1).deliver()
    assert seen == [["batch-1"]]
    assert get_many([b"key 1"])[b"key 1"].scores == b"1234"


def test_reports_are_delivered_in_order_and_before_the_end() -> None:
    thread = ReportingThread()
    for number in range(20):
        thread.hand_over(report(number))
    thread.close()
    assert replied() == [f"batch-{number}" for number in range(20)]
    assert len(get_many([b"key %d" % number for number in range(20)])) == 20


def test_the_one_who_computes_does_not_wait_until_the_line_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(reporter, "settle_and_reply", lambda **_: go.wait(30))
    thread = ReportingThread()
    for number in range(1 + reporter.LINE):  # one is under way
        thread.hand_over(report(number))
    late = threading.Thread(target=thread.hand_over, args=(report(99),), daemon=True)
    late.start()
    late.join(0.1)
    assert late.is_alive()
    go.set()
    late.join(30)
    thread.close()
    assert get_many([b"key 99"])


def test_without_redis_a_report_is_lost_and_the_next_one_is_not(
    state_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    thread = ReportingThread()
    state_redis.stop()
    thread.hand_over(report(1))
    thread.close()
    assert "could not be answered" in caplog.text
    state_redis.start()
    thread.hand_over(report(2))
    thread.close()
    assert replied() == ["batch-2"]
    # A process that sends the first batch once more finds its answer.
    assert sorted(get_many([b"key 1", b"key 2"])) == [b"key 1", b"key 2"]


def test_what_is_late_is_kept_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "settle_and_reply", lambda **_: False)
    report(1).deliver()
    assert replied() == []
    assert get_many([b"key 1"])


def whole(number: int, *, hold_id: str = "") -> Report:
    """A report whose settling was packed before it was computed."""
    made = report(number)
    items = [ItemMessage(b"tx", b"key %d" % number, hold_id, 1, 0)]
    return dataclasses.replace(made, done=items, settling=Settling.of(items))


def delivered(thread: ReportingThread, number: int) -> None:
    """Wait until a report is kept, which is the last that is done with it."""
    deadline = time.monotonic() + 20
    while not get_many([b"key %d" % number]):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_batches_that_were_computed_whole_are_sent_from_the_thread_that_computed_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread = ReportingThread()
    for number in range(2):
        thread.hand_over(whole(number))
        delivered(thread, number)
    # The second one was delivered, so that the connection was opened after the first one.
    slow: list[str] = []
    monkeypatch.setattr(reporter, "settle_and_reply", lambda *, reply, **_: slow.append(reply.batch_id))
    for number in range(2, 20):
        thread.hand_over(whole(number))
    thread.close()
    assert replied() == [f"batch-{number}" for number in range(20)]
    assert slow == []
    assert len(get_many([b"key %d" % number for number in range(20)])) == 20


def test_a_batch_of_which_only_a_part_is_settled_is_not_sent_ahead() -> None:
    thread = ReportingThread()
    thread.hand_over(whole(0))
    delivered(thread, 0)
    redis.state().config_resetstat()
    part = whole(1)
    items = [*part.done, ItemMessage(b"ty", b"", "hold", 1, 0)]
    thread.hand_over(dataclasses.replace(part, settling=Settling.of(items)))
    thread.close()
    assert redis.state().info("commandstats")["cmdstat_evalsha"]["calls"] == 1, "its reply alone"
    assert replied() == ["batch-0", "batch-1"]


def test_a_connection_that_breaks_costs_no_answer(state_redis: RedisServer) -> None:
    thread = ReportingThread()
    for number in range(0, 6, 2):
        thread.hand_over(whole(number))
        delivered(thread, number)
        with state_redis.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
        thread.hand_over(whole(number + 1))
        delivered(thread, number + 1)
    thread.close()
    assert replied() == [f"batch-{number}" for number in range(6)]


@pytest.mark.usefixtures("hasty_redis_clients")
def test_a_server_that_stalls_and_wakes_answers_once_more(
    state_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    thread = ReportingThread()
    thread.hand_over(whole(0))
    delivered(thread, 0)
    state_redis.pause()
    thread.hand_over(whole(1))
    delivered(thread, 1)
    state_redis.resume()
    redis.state().ping()
    thread.hand_over(whole(2))
    delivered(thread, 2)
    thread.hand_over(whole(3))
    thread.close()
    assert "batch-1 was computed, but could not be answered" in caplog.text
    assert replied() == ["batch-0", "batch-2", "batch-3"]
