"""What belongs to the event loop, asked by a test's thread."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from mlplatform.lib import event_loop

T = TypeVar("T")

WITHIN_S = 30.0


def asked(ask: Callable[[Callable[[T], None]], object]) -> T:
    """What ``ask`` tells its ``done``, which it is given on the loop."""
    answers: list[T] = []
    told = threading.Event()

    def done(answer: T) -> None:
        answers.append(answer)
        told.set()

    event_loop.call(partial(ask, done))
    assert told.wait(WITHIN_S), "the loop never answered"
    return answers[0]


def turn(work: Callable[..., Any], *arguments: Any) -> Any:
    """What ``work`` returns on the loop."""
    return event_loop.call(partial(work, *arguments))
