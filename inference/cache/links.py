"""The event loop's connection to the cache Redis."""

from collections.abc import Callable, Sequence

import hiredis
from django.conf import settings

from mlplatform.lib.redis_link import Answers, link_to


def ask(command: Sequence[bytes | str], done: Callable[[Answers | Exception], None]) -> None:
    """Send one command in this turn of the loop; ``done`` gets its answer as the only one of a list."""
    packed = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]
    url = settings.CACHES["predictions"]["LOCATION"]
    link_to(url, patience_s=settings.REDIS_TIMEOUT_S).ask(packed, done)
