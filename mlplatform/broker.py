"""Celery's Redis transport with one mend: an acknowledgement that Redis fails does not cost the worker its place.

A worker takes a message only while fewer than its prefetch count are unacknowledged. When Redis stalls, Celery logs
the failed acknowledgement and goes on, but kombu keeps the message on its books; with a prefetch count of one the
worker then waits for ever, alive and idle. Seen with celery 5.7.0 and kombu 5.7.0 on a server that stood still for six
seconds; ``tests/processes`` shows that it is over.
"""

from kombu.transport import redis, virtual


class QoS(redis.QoS):
    """Forgets a message whose acknowledgement failed; in Redis it fades after the visibility time-out."""

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)
            raise


class Channel(redis.Channel):
    """A channel with the mended book-keeping."""

    QoS = QoS


class Transport(redis.Transport):
    """Named in ``CELERY_BROKER_TRANSPORT``."""

    Channel = Channel
