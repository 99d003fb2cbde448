"""The end of the test process's event loop, with all that belongs to it."""

from billing import peeks
from inference.engine import plans, waves, works
from mlplatform.lib import event_loop, redis_link


def leave_the_loop() -> None:
    """The next use of it starts another loop, of which nothing is known."""
    works.forget()
    redis_link.forget()
    waves.forget()
    peeks.forget()
    plans.forget()
    event_loop.stop()
