"""The end of the test process's event loop, with all that belongs to it."""

from inference.engine import computing, plans, waves
from mlplatform.lib import event_loop, redis_link


def leave_the_loop() -> None:
    """The next use of it starts another loop, of which nothing is known."""
    computing.forget()
    redis_link.forget()
    waves.forget()
    plans.forget()
    event_loop.stop()
