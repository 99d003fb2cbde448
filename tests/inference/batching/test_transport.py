"""A batch is one message in the broker; replies come by a list that only this process reads."""

import json

import pytest

from inference.batching.messages import BatchMessage, BatchReply, decode_batch, encode_reply
from inference.batching.transport import TASK, CeleryTransport
from inference.fleet.workers import Heartbeat
from inference.types import DEFAULT_POOL, Priority
from mlplatform.lib import redis
from tests.support.redis_server import RedisServer


def message(transport: CeleryTransport) -> BatchMessage:
    return BatchMessage("batch-1", 1, "ab", transport.reply_to, 1.5, 60, [])


def test_a_batch_is_one_message_without_a_result() -> None:
    transport = CeleryTransport()
    transport.send(message(transport), pool=DEFAULT_POOL, priority=Priority.INTERACTIVE)
    (body,) = redis.state().lrange(f"celery:{DEFAULT_POOL}", 0, -1)
    envelope = json.loads(body)
    assert (envelope["headers"]["task"], envelope["headers"]["id"]) == (TASK, "batch-1")
    assert envelope["headers"]["ignore_result"] is True
    ((text,), _, _) = json.loads(envelope["body"])
    assert decode_batch(text) == message(transport)


def test_replies_come_in_order_and_all_that_wait_at_once() -> None:
    transport, stranger = CeleryTransport(), CeleryTransport()
    assert transport.reply_to != stranger.reply_to
    replies = [BatchReply(f"batch-{number}", "worker", [b"s", None]) for number in range(3)]
    redis.state().rpush(transport.reply_to, *map(encode_reply, replies))
    redis.state().rpush(stranger.reply_to, encode_reply(BatchReply("other", "worker", [])))
    assert transport.receive() == replies
    assert [reply.batch_id for reply in stranger.receive()] == ["other"]


def test_workers_are_counted_by_their_heartbeats() -> None:
    transport = CeleryTransport()
    assert transport.capacity("gpu").workers == 0
    Heartbeat(queue="gpu", device="cpu").beat()
    Heartbeat(queue="jobs", device="cpu").beat()
    redis.state().lpush("celery:gpu", "one", "two")
    assert (transport.capacity("gpu").workers, transport.capacity("gpu").waiting_batches) == (1, 2)


def test_while_redis_is_away_both_ways_fail_and_come_back(state_redis: RedisServer) -> None:
    transport = CeleryTransport()
    redis.state().rpush(transport.reply_to, encode_reply(BatchReply("batch-1", "worker", [])))
    assert len(transport.receive()) == 1
    state_redis.stop()
    with pytest.raises(Exception, match=r"refused|closed|Connection"):
        transport.send(message(transport), pool=DEFAULT_POOL, priority=Priority.INTERACTIVE)
    with pytest.raises(redis.FAILURES):
        transport.receive()
    state_redis.start()
    transport.send(message(transport), pool=DEFAULT_POOL, priority=Priority.INTERACTIVE)
    redis.state().rpush(transport.reply_to, encode_reply(BatchReply("batch-2", "worker", [])))
    assert [reply.batch_id for reply in transport.receive()] == ["batch-2"]


def test_a_reply_that_cannot_be_read_costs_the_others_nothing() -> None:
    transport = CeleryTransport()
    good = BatchReply("batch-1", "worker", [b"s"])
    redis.state().rpush(transport.reply_to, b"another release's", encode_reply(good))
    assert transport.receive() == [good]
