"""The mend of kombu's book-keeping; ``tests/processes`` shows it on a real worker whose Redis stands still."""

import pytest
from kombu import Connection, Queue

from mlplatform import broker
from mlplatform import celery as celery_app
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
