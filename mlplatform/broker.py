"""Celery's Redis transport with two mends, and a quicker decoder.

An acknowledgement that Redis fails does not cost the worker its place. A worker takes a message only while fewer than its
prefetch count are unacknowledged. When Redis stalls, Celery logs the failed acknowledgement and goes on, but kombu keeps the
message on its books; with a prefetch count of one the worker then waits for ever, alive and idle. Seen with celery 5.7.0 and
kombu 5.7.0 on a server that stood still for six seconds; ``tests/processes`` shows that it is over.

Batches are on the books of this process alone. For every message kombu writes down in Redis that it was taken and, a moment
later, that it is done: two round trips on the way of each answer. A batch that is lost with its worker is sent once more by
the process that asked, so nothing needs to be found in Redis. One that was taken and not begun when the worker stops in good
order is put back, first in its queue.

What is popped is decoded by msgspec. kombu's decoder calls a function of Python for each object, for types of its own that few
envelopes have; a forward pass leaves the processor's caches cold, so that this took 50 to 90 µs of every answer.
"""

from queue import Empty
from typing import Any, Final

import msgspec
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

BATCH_TASK: Final = "inference.run_batch"
"""The one task whose messages are not written down; ``tests/mlplatform/test_broker.py`` compares the name."""

_TYPED: Final = b'"__type__"'
_decode: Final = msgspec.json.Decoder().decode


class QoS(redis.QoS):
    """Forgets a message whose acknowledgement failed (in Redis it fades after the visibility time-out), and keeps batches
    out of Redis."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._batches: dict[str, Any] = {}

    def append(self, message: Any, delivery_tag: str) -> None:
        if message.headers.get("task") != BATCH_TASK:
            super().append(message, delivery_tag)
            return
        self._batches[delivery_tag] = message
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        if self._batches.pop(delivery_tag, None) is not None:
            virtual.QoS.ack(self, delivery_tag)
            return
        try:
            super().ack(delivery_tag)
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        batch = self._batches.pop(delivery_tag, None)
        if batch is None:
            super().reject(delivery_tag, requeue=requeue)
            return
        virtual.QoS.ack(self, delivery_tag)
        if requeue:
            self._put_back([batch])

    def restore_unacked(self, client: Any = None) -> None:
        batches = list(self._batches.values())
        self._batches.clear()
        self._put_back(batches, client)
        super().restore_unacked(client)  # which finds nothing in Redis of batches, and forgets them

    def _put_back(self, batches: list[Any], client: Any = None) -> None:
        if not batches:
            return
        channel: Any = self.channel
        with channel.conn_or_acquire(client) as connected, connected.pipeline() as pipe:
            for batch in batches:
                where = batch.delivery_info
                channel._do_restore_message(batch._raw, where["exchange"], where["routing_key"], pipe)
            pipe.execute()


class Channel(redis.Channel):
    """A channel with the mended book-keeping, and the quicker decoder."""

    QoS = QoS

    def _brpop_read(self, **options: Any) -> bool:
        """kombu's own but for the decoder."""
        channel: Any = self  # kombu has no types for its own
        client = channel.client
        try:
            try:
                popped = client.parse_response(client.connection, "BRPOP", **options)
            except channel.connection_errors:
                client.connection.disconnect()
                raise
            if not popped:
                raise Empty
            name, message = popped
            queue = bytes_to_str(name).rsplit(channel.sep, 1)[0]
            channel._queue_cycle.rotate(queue)
            channel.connection._deliver(_decoded(message), queue)
            return True
        finally:
            channel._in_poll = None
            channel._flush_brpop_reauth()


def _decoded(message: bytes) -> Any:
    """The envelope. One that holds values of kombu's own types is left to kombu."""
    return loads(bytes_to_str(message)) if _TYPED in message else _decode(message)


class Transport(redis.Transport):
    """Named in ``CELERY_BROKER_TRANSPORT``."""

    Channel = Channel
