"""A fresh secret on its way from the form that made it to the page that shows it once.

A form's answer is a redirect, so that a reload makes no second secret, and the secret must wait in between. It waits
encrypted in the state Redis for ten minutes; the key to it, the ticket, is held by the browser alone. Neither
Redis with its files nor the database ever holds a secret that can be read.
"""

import datetime as dt
import json
import secrets
from dataclasses import dataclass
from typing import Final

from mlplatform.lib import redis, sealed
from mlplatform.lib.errors import unavailable
from tenants.api_keys import IssuedSecret

WAITS_S: Final = 600
_GROUP: Final = "handed-over"


@dataclass(frozen=True, slots=True)
class Shown:
    """A secret to be shown now and never again. ``old_until``: until when the secret that it replaces works."""

    key_id: int
    secret: str
    old_until: dt.datetime | None

    def __repr__(self) -> str:
        return f"Shown(key_id={self.key_id}, secret=…)"


def put(*, issued: IssuedSecret, old_until: dt.datetime | None = None) -> str:
    """Let the secret wait, and give the ticket for it.

    Raises UNAVAILABLE while Redis is away. Call it within the transaction that made the secret: then no key remains
    whose secret cannot be shown.
    """
    ticket = secrets.token_urlsafe(32)
    waiting = {
        "key_id": issued.key.pk,
        "secret": issued.secret,
        "old_until": old_until.isoformat() if old_until else None,
    }
    try:
        redis.state().set(
            sealed.name(ticket, group=_GROUP), sealed.seal(json.dumps(waiting).encode(), secret=ticket), ex=WAITS_S
        )
    except redis.FAILURES as error:
        raise unavailable("Nothing was made: its secret could not be handed to the next page. Try again.") from error
    return ticket


def take(*, ticket: str) -> Shown | None:
    """The secret that waits for this ticket, once; None where it was taken, waited too long, or never was.

    Raises UNAVAILABLE while Redis is away; the secret goes on waiting.
    """
    try:
        found = redis.state().getdel(sealed.name(ticket, group=_GROUP))
    except redis.FAILURES as error:
        raise unavailable("The secret cannot be read at the moment. Reload this page in a minute.") from error
    text = sealed.unseal(redis.as_bytes(found), secret=ticket) if found else None
    if text is None:
        return None
    given = json.loads(text)
    old_until = dt.datetime.fromisoformat(given["old_until"]) if given["old_until"] else None
    return Shown(key_id=given["key_id"], secret=given["secret"], old_until=old_until)
