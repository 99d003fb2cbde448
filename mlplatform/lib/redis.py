"""The two Redis roles and scripts that run on them.

*state* (limits, holds, usage streams, guards, broker) must not lose or repeat a write: no retries, a short time-out.
*cache* (predictions) may vanish at any time: the same short time-out, and every caller treats an error as a miss.
"""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from hashlib import sha1
from pathlib import Path
from typing import Any, Final

import redis
from django_redis import get_redis_connection
from redis.exceptions import AuthenticationError, NoPermissionError, NoScriptError, ResponseError

__all__ = ["FAILURES", "REFUSED", "UNANSWERED", "ResponseError", "Script", "as_bytes", "cache", "may_be_done", "state"]

FAILURES: Final = (redis.RedisError, OSError)
"""What a Redis call can raise when the server, the network or its memory fails."""

REFUSED: Final = (AuthenticationError, NoPermissionError)
"""Of these, what says that the server is there and does not let this process in: the password in the URL is not its own."""

UNANSWERED: Final = "It was sent and got no answer: the server may have done it, or may yet do it."
"""The note on such an error."""


def may_be_done(error: BaseException) -> bool:
    """Whether what raised this may have run all the same, or run later: it was sent, and there was no answer."""
    return UNANSWERED in getattr(error, "__notes__", ())


@lru_cache(maxsize=1)
def state() -> redis.Redis:
    """The state server's client of this process; thread-safe, one connection a thread in use."""
    client: redis.Redis = get_redis_connection("state")
    return client


@lru_cache(maxsize=1)
def cache() -> redis.Redis:
    """The cache server's client of this process; thread-safe, one connection a thread in use."""
    client: redis.Redis = get_redis_connection("predictions")
    return client


def as_bytes(value: bytes | str) -> bytes:
    """A reply of these clients, which never decode; the library's types cannot tell."""
    return value if isinstance(value, bytes) else value.encode()


class Script:
    """One Lua file that is sent by its SHA-1, and by its text when the server does not know it (restart, failover)."""

    after: "tuple[Script, ...]" = ()
    """Scripts that run before it in a pipeline. A server that knows it knows those too, or it would run alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def source(self) -> str:
        return self.path.read_text()

    @cached_property
    def sha(self) -> str:
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: redis.Redis, keys: Sequence[str | bytes], args: Sequence[str | bytes | int | float]) -> Any:
        """One round trip, or two after the server forgot its scripts; raises what redis-py raises."""
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.eval(self.source, len(keys), *keys, *args)
