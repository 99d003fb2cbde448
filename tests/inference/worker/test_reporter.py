"""The end of a batch: answered before it is kept, in order, on a thread of its own, and nothing is lost when it stops."""

import threading
from collections.abc import Mapping

import pytest

from inference.batching.messages import BatchReply, ItemMessage, decode_reply
from inference.cache import store
from inference.types import TextLength
from inference.worker import reporter
from inference.worker.reporter import Report, ReportingThread
from mlplatform.lib import redis
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
    assert store.get_many([b"key 1"])[b"key 1"].scores == b"1234"


def test_reports_are_delivered_in_order_and_before_the_end() -> None:
    thread = ReportingThread()
    for number in range(20):
        thread.hand_over(report(number))
    thread.close()
    assert replied() == [f"batch-{number}" for number in range(20)]
    assert len(store.get_many([b"key %d" % number for number in range(20)])) == 20


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
    assert store.get_many([b"key 99"])


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
    assert sorted(store.get_many([b"key 1", b"key 2"])) == [b"key 1", b"key 2"]


def test_what_is_late_is_kept_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "settle_and_reply", lambda **_: False)
    report(1).deliver()
    assert replied() == []
    assert store.get_many([b"key 1"])
