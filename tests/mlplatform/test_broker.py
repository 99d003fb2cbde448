"""The mends of kombu's book-keeping; ``tests/processes`` shows them on real workers."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection, Queue

from inference.batching import transport
from inference.fleet import broker as fleet_broker
from inference.types import Priority
from mlplatform import broker
from mlplatform import celery as celery_app
from mlplatform.lib import redis
from tests.support.redis_server import RedisServer


def test_celery_uses_the_mended_transport() -> None:
    with celery_app.app.connection_for_write() as connection:
        assert isinstance(connection.transport, broker.Transport)


def test_a_failed_acknowledgement_does_not_cost_the_worker_its_place(state_redis: RedisServer) -> None:
    with Connection(state_redis.url, transport="mlplatform.broker:Transport") as connection:
        channel = connection.channel()
        assert isinstance(channel, broker.Channel)
        queue = Queue("broker-test", channel=channel)
        queue.declare()
        channel.basic_qos(0, 1, False)
        with connection.Producer(channel) as producer:
            producer.publish({"n": 1}, routing_key="broker-test")
        message = queue.get(no_ack=False)
        assert message is not None
        assert not channel.qos.can_consume()
        state_redis.stop()
        try:
            with pytest.raises((*connection.connection_errors, *connection.channel_errors)):
                message.ack()
        finally:
            state_redis.start()
        assert channel.qos.can_consume()


def test_batches_are_known_by_the_name_of_their_task() -> None:
    assert broker.BATCH_TASK == transport.TASK


@pytest.fixture
def channel() -> Iterator[Any]:
    """A worker's channel with the product's settings, one message at a time."""
    with celery_app.app.connection_for_read() as connection:
        channel: Any = connection.channel()
        channel.basic_qos(0, 1, False)
        Queue("gpu", channel=channel).declare()
        yield channel


def send(*arguments: str) -> None:
    for argument in arguments:
        fleet_broker.publish(
            task=transport.TASK, argument=argument, queue="gpu", task_id=argument, priority=Priority.INTERACTIVE
        )


def take(channel: Any) -> Any:
    message = Queue("gpu", channel=channel).get(no_ack=False)
    assert message is not None
    return message


def on_the_books() -> list[Any]:
    return [*redis.state().keys("celery:unacked"), *redis.state().keys("celery:unacked_index")]


def test_a_batch_is_taken_and_done_without_a_word_in_redis(channel: Any) -> None:
    send("one", "two")
    first = take(channel)
    assert not channel.qos.can_consume()
    assert on_the_books() == []
    first.ack()
    assert channel.qos.can_consume()
    assert take(channel).payload[0] == ["two"]
    assert on_the_books() == []


def test_another_task_of_the_same_queue_stays_on_the_books(channel: Any) -> None:
    celery_app.app.send_task("inference.verify_version", kwargs={"version_id": 1}, queue="gpu")
    message = take(channel)
    assert len(on_the_books()) == 2
    message.ack()
    assert on_the_books() == []


def test_a_batch_that_was_taken_and_not_begun_goes_back_first_in_its_queue(channel: Any) -> None:
    send("one", "two", "three")
    take(channel).reject(requeue=True)
    assert channel.qos.can_consume()
    assert take(channel).payload[0] == ["one"]


def test_a_batch_that_no_process_wants_is_gone(channel: Any) -> None:
    send("one", "two")
    take(channel).reject(requeue=False)
    assert take(channel).payload[0] == ["two"]
    assert redis.state().llen("celery:gpu") == 0


def test_what_a_worker_held_when_it_stopped_is_there_for_the_next_one() -> None:
    send("one", "two")
    with celery_app.app.connection_for_read() as connection:
        channel: Any = connection.channel()
        Queue("gpu", channel=channel).declare()
        taken = take(channel)
        assert redis.state().llen("celery:gpu") == 1
        channel.close()
    assert redis.state().llen("celery:gpu") == 2
    with celery_app.app.connection_for_read() as connection:
        channel = connection.channel()
        Queue("gpu", channel=channel).declare()
        again = take(channel)
        assert (again.payload[0], again.headers["redelivered"]) == (taken.payload[0], True)
        again.ack()


def consumed(channel: Any) -> list[Any]:
    """What a consumer of ``gpu`` gets, as a worker does."""
    got: list[Any] = []
    with channel.connection.client.Consumer(
        Queue("gpu", channel=channel), channel=channel, on_message=got.append, accept=["json"]
    ):
        channel.connection.client.drain_events(timeout=5)
    return got


def test_a_consumer_gets_what_was_sent(channel: Any) -> None:
    send("one")
    (message,) = consumed(channel)
    assert message.payload[0] == ["one"]
    assert message.headers["task"] == transport.TASK
    assert (message.delivery_info["routing_key"], message.properties["correlation_id"]) == ("gpu", "one")
    message.ack()


def test_values_of_kombus_own_types_arrive(channel: Any) -> None:
    moment = dt.datetime(2026, 11, 29, 8, 0, tzinfo=dt.UTC)
    with channel.connection.client.Producer(channel) as producer:
        producer.publish({"at": moment}, routing_key="gpu", headers={"at": moment})
    (message,) = consumed(channel)
    assert (message.headers["at"], message.payload["at"]) == (moment, moment)
    message.ack()


def test_an_empty_queue_is_no_message(channel: Any) -> None:
    with pytest.raises(TimeoutError):
        channel.connection.client.drain_events(timeout=0.1)
