"""The event loop's connection to the cache Redis."""

from collections.abc import Callable, Sequence

from django.conf import settings
from redis.exceptions import NoScriptError

from mlplatform.lib.redis import Script
from mlplatform.lib.redis_link import Answers, link_to, packed

Done = Callable[[Answers | Exception], None]


def ask(command: Sequence[bytes | str], done: Done) -> None:
    """Send one command in this turn of the loop; ``done`` gets its answer as the only one of a list."""
    url = settings.CACHES["predictions"]["LOCATION"]
    link_to(url, patience_s=settings.REDIS_TIMEOUT_S).ask(packed(*command), done)


def run(script: Script, names: Sequence[bytes], arguments: Sequence[bytes], done: Done) -> None:
    """The same for a script, whose text is sent to a server that does not know it."""
    rest: tuple[str | bytes, ...] = (str(len(names)), *names, *arguments)

    def answered(answers: Answers | Exception) -> None:
        if not isinstance(answers, Exception) and isinstance(answers[0], NoScriptError):
            ask(("EVAL", script.source, *rest), done)
        else:
            done(answers)

    ask(("EVALSHA", script.sha, *rest), answered)
