"""SQL connections of threads that Django does not look after, because their calls do not come through its handlers."""

from threading import local
from time import monotonic
from typing import Final

from django.db import connections

_thread: Final = local()


def let_go(*, after_failure: bool) -> None:
    """Close what failed or is too old, as Django does when a request ends; each thread looks once a second."""
    now = monotonic()
    if not after_failure and now - getattr(_thread, "looked_at", 0.0) < 1.0:
        return
    _thread.looked_at = now
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
