"""The state of a caller's limits for answers that end without an admission, as the event loop asks for it.

Each of them tells it, and under overload most answers are of that kind: those of one contract that end while a look is under way
share it, without a thread.
"""

import logging
import os
from collections.abc import Callable
from functools import partial

from billing import charging
from billing.admission import Decision, on_loop
from billing.admission.on_loop import CounterLost
from billing.contracts import Contract
from mlplatform.lib import event_loop
from tenants.guards import StaleCaller

logger = logging.getLogger(__name__)

Found = Decision | StaleCaller | None
"""The state of every limit; or that the caller has changed, and may be none any more; None where it cannot be known."""

Told = Callable[[Found], None]

_waiting: dict[int, list[Told]] = {}
"""Whom a look that is under way is for, by the identity of its contract."""


def peek(contract: Contract, told: Told) -> None:
    """Have ``told`` get what the look finds. Of the loop's thread."""
    waiting = _waiting.get(id(contract))
    if waiting is not None:
        waiting.append(told)
        return
    _waiting[id(contract)] = [told]
    try:
        on_loop.peek(subject=contract.subject, limits=contract.limits, done=partial(_peeked, contract))
    except Exception as error:  # noqa: BLE001 - no answer waits for a look that was not begun
        _peeked(contract, error)


def forget() -> None:
    """Begin anew, with whatever loop there is; for tests and forked processes."""
    _waiting.clear()


def _peeked(contract: Contract, found: Decision | Exception) -> None:
    if isinstance(found, CounterLost):
        # A thread makes the counter anew, for which it asks SQL.
        again = partial(charging.peek, contract=contract, limits=contract.limits)
        event_loop.in_thread(again, partial(_peeked, contract))
        return
    known = found if isinstance(found, Decision | StaleCaller) else None
    if known is None:
        logger.info("no limits beside a problem: their state could not be read")
    for told in _waiting.pop(id(contract), ()):
        try:
            told(known)
        except Exception:
            logger.exception("an answer could not be handed over")


os.register_at_fork(after_in_child=forget)
