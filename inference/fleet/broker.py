"""Puts a batch into a Celery queue on Redis with one LPUSH, as the message that Celery itself would write.

Celery's ``send_task`` takes 1.1 ms of CPU for each message (signals, a producer pool, a queue declaration, kombu's layers),
all of it on the way of an answer; the same bytes made here take 0.1 ms. The format is Celery's message protocol 2, which is
documented for programs in other languages; ``tests/inference/fleet/test_broker.py`` compares it with what the
installed Celery sends. A broker that is no Redis gets Celery's own ``send_task``.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec
import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from billing.admission import connection
from inference.types import Priority
from mlplatform.lib.ids import hex_id
from mlplatform.lib.redis_link import packed

PRIORITIES: Final = {Priority.INTERACTIVE: 0, Priority.BACKGROUND: 9}
"""As Celery numbers them on Redis: 0 goes first."""

_SEPARATOR: Final = "\x06\x16"  # between a queue's name and a priority other than 0, as kombu writes it
_EMBED: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_encode: Final = msgspec.json.Encoder().encode
_NAMES: Final = ("<argument>", "<id>", "<tag>")


def publish(*, task: str, argument: str, queue: str, task_id: str, priority: Priority) -> None:
    """Hand over one task with one argument; raises when the broker does not take it."""
    client = direct_client()
    if client is None:
        _by_celery(task=task, argument=argument, queue=queue, task_id=task_id, priority=priority)
        return
    number = PRIORITIES[priority]
    body = envelope(task=task, argument=argument, queue=queue, task_id=task_id, priority=number)
    connection.command(client, "LPUSH", list_name(queue, number), body)


def is_redis() -> bool:
    """Whether the broker is a Redis, so that :func:`command` hands over a task."""
    return direct_client() is not None


def command(*, task: str, argument: str, queue: str, task_id: str, priority: Priority) -> bytes:
    """The packed Redis command that hands over one task with one argument."""
    number = PRIORITIES[priority]
    body = envelope(task=task, argument=argument, queue=queue, task_id=task_id, priority=number)
    return packed("LPUSH", list_name(queue, number), body)


def waiting(lists: Sequence[str]) -> list[int]:
    """How many messages wait in each of these lists of the broker; 0 where it is no Redis, for then it cannot be told cheaply.

    Raises what Redis raises.
    """
    client = direct_client()
    if client is None:
        return [0] * len(lists)
    pipe = client.pipeline(transaction=False)
    for name in lists:
        pipe.llen(name)
    return [int(length) for length in pipe.execute()]


def list_name(queue: str, priority: int = 0) -> str:
    """The Redis list that holds a queue's messages of a priority."""
    prefix = settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"]
    return f"{prefix}{queue}{f'{_SEPARATOR}{priority}' if priority else ''}"


def envelope(*, task: str, argument: str, queue: str, task_id: str, priority: int) -> bytes:
    """The message as it lies in the list."""
    values = {_ARGUMENT: _quoted_twice(argument), _ID: _encode(task_id), _TAG: _encode(hex_id())}
    return b"".join([values.get(part, part) for part in _parts(task, queue, priority)])


@lru_cache(maxsize=1024)
def _parts(task: str, queue: str, priority: int) -> list[bytes]:
    """The message in pieces, of which some are only names of what goes there: to write all of it anew takes three times as long,
    and callers wait for it. ``argsrepr`` is left short: Celery would repeat the batch there for its logs."""
    argument, task_id, tag = _NAMES
    whole = _encode(
        {
            "body": _encode([[argument], {}, _EMBED]).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": task,
                "id": task_id,
                "shadow": None,
                "eta": None,
                "expires": None,
                "group": None,
                "group_index": None,
                "retries": 0,
                "timelimit": [None, None],
                "root_id": task_id,
                "parent_id": None,
                "argsrepr": "('…',)",
                "kwargsrepr": "{}",
                "origin": "batcher",
                "ignore_result": True,
                "replaced_task_nesting": 0,
                "stamped_headers": None,
                "stamps": {},
            },
            "properties": {
                "correlation_id": task_id,
                "reply_to": task_id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": priority,
                "body_encoding": None,
                "delivery_tag": tag,
            },
        }
    )
    return re.split(b"(%b|%b|%b)" % (re.escape(_ARGUMENT), _ID, _TAG), whole)


def _quoted_twice(text: str) -> bytes:
    """As it stands in JSON that is a text of JSON."""
    return _encode(_encode(text).decode())[1:-1]


_ARGUMENT: Final = _quoted_twice(_NAMES[0])
_ID, _TAG = (_encode(name) for name in _NAMES[1:])


@lru_cache(maxsize=1)
def direct_client() -> redis.Redis | None:
    """The broker, where it is a Redis; its time-outs are those of the state Redis, for a caller waits for it."""
    url: str = settings.CELERY_BROKER_URL
    if not url.startswith(("redis://", "rediss://", "unix://")):
        return None
    client: redis.Redis = redis.Redis.from_url(
        url,
        socket_timeout=settings.REDIS_TIMEOUT_S,
        socket_connect_timeout=settings.REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    return client


def _by_celery(*, task: str, argument: str, queue: str, task_id: str, priority: Priority) -> None:
    from celery import current_app

    current_app.send_task(
        task,
        args=[argument],
        queue=queue,
        task_id=task_id,
        priority=PRIORITIES[priority],
        ignore_result=True,
        retry=False,
    )
