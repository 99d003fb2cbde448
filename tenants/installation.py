"""Whose a Redis is: the installation's id stands in SQL and in each of its Redis servers, and every process compares them.

Two installations that share a Redis by mistake would drain each other's usage and take each other's tasks. SQL is the
truth: it holds the id, made once. A server that bears none (new, flushed, restored without its file, or a cache that
evicted it) is stamped by the first process that meets it; one that bears another is refused before anything is written.
"""

import contextlib
import logging
import os
import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection, transaction
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError
from redis.retry import Retry

from mlplatform.lib.background import Ticker
from mlplatform.lib.redis import FAILURES, REFUSED, as_bytes
from tenants.models import Installation

logger = logging.getLogger(__name__)

KEY: Final = "mlplatform:installation"
_ANSWER_S: Final = 2.0
_LOOK_AGAIN_S: Final = 1.0
_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})


class ForeignRedisError(Exception):
    """A Redis bears the id of another installation; the message names both, where each comes from and what to do."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.message = message
        self.hint = hint


class UnknownRedisError(Exception):
    """SQL or a Redis does not answer, so that nothing can be compared; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """One Redis server of this installation: its role, its URL, and the variable or file that the URL was read from."""

    role: str
    url: str
    source: str

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        where = f"{parts.hostname}:{parts.port or 6379}{parts.path}" if parts.hostname else parts.path
        return f"the {self.role} Redis at {where} (from {self.source})"

    @contextlib.contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A client of its own, for this may run before a fork, with a time-out for a start rather than for a call."""
        made = redis.Redis.from_url(
            self.url, socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S, retry=Retry(NoBackoff(), 0)
        )
        with contextlib.closing(made):
            yield made

    def bears(self) -> str | None:
        """The id that it bears; raises UnknownRedisError."""
        if not self.source:
            raise UnknownRedisError(
                f"{self._variable} is not set and nothing has run from DATA_DIR {settings.DATA_DIR}, so its Redis is not "
                "known. Start the product with `make run`, give the DATA_DIR of the one that runs, or set "
                f"{self._variable}."
            )
        with self._asking(), self.client() as client:
            found = client.get(KEY)
        return None if found is None else as_bytes(found).decode(errors="replace")

    def stamp(self, uid: str, *, over: bool = False) -> str:
        """Give it the id unless it bears one, or ``over`` whatever it bears; return what it bears then."""
        with self._asking(), self.client() as client:
            try:
                before = client.set(KEY, uid, nx=not over, get=True)
            except OutOfMemoryError:
                # Refused for its memory; that it answers is enough, and the next start stamps it.
                logger.warning("%s is full and was not stamped with the installation's id", self)
                return uid
        return uid if over or not isinstance(before, bytes) else before.decode(errors="replace")

    @property
    def _variable(self) -> str:
        return {"state": "REDIS_URL", "cache": "CACHE_REDIS_URL", "broker": "BROKER_URL"}[self.role]

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except REFUSED as error:
            raise UnknownRedisError(
                f"{str(self)[0].upper()}{str(self)[1:]} refuses the password. `make run` makes a new one at each start: begin "
                f"this anew after it. Where {self._variable} is set, write the password into it."
            ) from error
        except FAILURES as error:
            # A client's error can quote what the server said, never the URL with its password.
            raise UnknownRedisError(
                f"{str(self)[0].upper()}{str(self)[1:]} does not answer ({type(error).__name__}): start the product "
                f"that it belongs to, or set {self._variable}."
            ) from error


def servers() -> tuple[Server, ...]:
    """Every Redis of this installation, each once. A broker of another kind bears no id."""
    found = [
        Server("state", settings.REDIS_URL, settings.REDIS_URL_SOURCE),
        Server("cache", settings.CACHE_REDIS_URL, settings.CACHE_REDIS_URL_SOURCE),
    ]
    broker = settings.CELERY_BROKER_URL
    if broker != settings.REDIS_URL and urlsplit(broker).scheme in _SCHEMES:
        found.append(Server("broker", broker, "BROKER_URL"))
    return tuple(found)


def uid() -> str:
    """The id in SQL, made when there is none; raises UnknownRedisError when SQL does not answer or has no such table yet."""
    try:
        with transaction.atomic():
            row, _ = Installation.objects.get_or_create(pk=1)
    except DatabaseError as error:
        raise UnknownRedisError(f"SQL does not tell which installation this is: {error}") from error
    return str(row.uid)


def require() -> None:
    """Compare every Redis with SQL, and stamp those that bear no id.

    Raises ForeignRedisError for the first that bears another's, before any was stamped. Raises UnknownRedisError when SQL
    or the state Redis cannot be asked; a cache that is away may be (its stamp waits for the next start).
    """
    own = uid()
    unstamped = []
    for server in servers():
        try:
            found = server.bears()
        except UnknownRedisError:
            if server.role == "cache" and server.source:
                logger.warning("%s does not answer, so whose it is was not looked at", server)
                continue
            raise
        _compare(server, found or own, own)
        if found is None:
            unstamped.append(server)
    for server in unstamped:
        # Another installation may have come first in this moment: what the server bears now decides.
        _compare(server, server.stamp(own), own)


def at_start() -> None:
    """What every serving process does first: raises ForeignRedisError, so that it ends before it reads a queue or a call.

    Where SQL or Redis does not answer yet the process starts, for it must come back without a hand when they
    do; it looks again each second, and ends itself when it was given another's Redis.
    """
    try:
        require()
    except UnknownRedisError as error:
        logger.warning("whose the Redis is cannot be told yet: %s", error)
        _ticker.ensure_started()
    finally:
        # The process may fork next; no child may inherit a connection.
        connection.close()


def adopt(other: str) -> list[Server]:
    """Make every Redis that bears ``other`` this installation's, with all that is in it; return them."""
    own = uid()
    adopted = [server for server in servers() if server.bears() == other]
    for server in adopted:
        server.stamp(own, over=True)
    return adopted


def renew() -> tuple[str, str]:
    """Give SQL a new id, as a copy of another installation's database needs; return the old one and the new one."""
    old = uid()
    Installation.objects.filter(pk=1).update(uid=uuid.uuid4())
    return old, uid()


def foreign() -> list[ForeignRedisError]:
    """What each Redis has to say against this database; writes nothing and passes over what cannot be asked."""
    try:
        with transaction.atomic():
            row = Installation.objects.filter(pk=1).first()
    except DatabaseError:
        return []
    found: list[ForeignRedisError] = []
    for server in servers() if row is not None else ():
        try:
            _compare(server, server.bears() or str(row), str(row))
        except ForeignRedisError as error:
            found.append(error)
        except UnknownRedisError:
            continue
    return found


def _compare(server: Server, found: str, own: str) -> None:
    if found == own:
        return
    database = settings.DATABASES["default"]
    sql = f"{database['ENGINE'].rpartition('.')[2]} {database.get('HOST', '')} {database['NAME']}".replace("  ", " ")
    raise ForeignRedisError(
        f"{str(server)[0].upper()}{str(server)[1:]} belongs to installation {found}, and the database ({sql}) to "
        f"installation {own}. Nothing was written.",
        hint=(
            "Give the DATA_DIR or the URLs of one installation. Only if that Redis is this one's from now on, for example "
            "because its database was made anew: empty it, or keep what is in it with "
            f"`manage.py installation adopt {found}` while it runs, or `make run ADOPT_REDIS={found}`."
        ),
    )


def _look_again() -> None:
    close_old_connections()
    try:
        require()
    except UnknownRedisError:
        return
    except ForeignRedisError as error:
        logger.critical("%s This process ends.", error)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        connection.close()
    _ticker.stop()


_ticker: Final = Ticker("installation", _LOOK_AGAIN_S, _look_again)
