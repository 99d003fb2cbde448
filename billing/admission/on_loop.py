"""Admission and settlement as the event loop asks for them: nothing waits, and what is asked in one turn travels together.

The decisions are those of ``deciding`` and ``settling``, by the same scripts. What those do with SQL, or by waiting, is left to
them: a call whose monthly counter is lost gets :class:`CounterLost` and goes their way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from django.conf import settings
from redis.exceptions import NoScriptError

from billing.admission import deciding, keys, packing, scripts, server_clock
from billing.admission.failures import failed, reason_of
from billing.admission.types import Charge, Decision, Limit, Settled, Settlement, Subject
from mlplatform.lib.errors import PlatformError
from mlplatform.lib.redis import Script
from mlplatform.lib.redis_link import Answers, Link, link_to, packed

_TRIES: Final = 4


class CounterLost(Exception):
    """A monthly counter must be made anew from the ledger first. Nothing was taken."""


@dataclass(slots=True, eq=False)
class Admission:
    """One run of the script: all of its charges are admitted, or none.

    ``request_id`` is that under which a refusal is kept for ``explain``; empty: it is not kept. ``done`` gets a decision, or
    what ``deciding.admit`` would raise.
    """

    subject: Subject
    limits: tuple[Limit, ...]
    charges: tuple[Charge, ...]
    request_id: str
    hold_ttl_s: float
    settle_now: bool
    done: Callable[[Decision | Exception], None]
    corked: bool = False
    """Whether its asker flushes the link, when it has asked for all."""
    tries: int = _TRIES


def state_link(shard: int) -> Link:
    """The connection to the server that holds a shard; today one holds all."""
    return link_to(settings.CACHES["state"]["LOCATION"], patience_s=settings.REDIS_TIMEOUT_S)


def admit(admission: Admission) -> None:
    """Ask the script until it decides; asked again only after answers that took nothing."""
    subject = admission.subject
    admission.tries -= 1
    call = packing.call(
        subject=subject,
        charges=admission.charges,
        request_id=admission.request_id,
        hold_ttl_s=admission.hold_ttl_s,
        settle_now=admission.settle_now,
        deadline_us=server_clock.OF_STATE.deadline_us(patience_s=settings.REDIS_TIMEOUT_S),
        lifetime_us=packing.lifetime_us(admission.limits),
    )
    names = keys.of_caller(subject.shard, subject.tenant_id, subject.key_id)
    arguments = (packing.limits(admission.limits), call)
    _run(subject.shard, scripts.ADMIT, names, arguments, partial(_decided, admission), corked=admission.corked)
    admission.corked = False


def peek(*, subject: Subject, limits: tuple[Limit, ...], done: Callable[[Decision | Exception], None]) -> None:
    """The state of these limits, as ``deciding.peek`` tells it; takes nothing."""
    admit(
        Admission(
            subject=subject, limits=limits, charges=(), request_id="", hold_ttl_s=1.0, settle_now=False, done=done
        )
    )


def settle(
    *,
    shard: int,
    tenant_id: int,
    holds: Sequence[Settlement],
    done: Callable[[Sequence[Settled] | PlatformError], None],
) -> None:
    """As ``settling.settle``, for at most as many holds as one run takes."""
    message = packing.message([(hold.hold_id, -1 if hold.units is None else hold.units) for hold in holds])
    deadline_us = server_clock.OF_STATE.deadline_us(patience_s=settings.REDIS_TIMEOUT_S)

    def settled(answer: list[int] | Exception) -> None:
        if isinstance(answer, Exception):
            done(failed(reason_of(answer), answer))
            return
        outcomes = tuple(Settled(each) for each in answer[:-1])
        late = Settled.LATE in outcomes
        server_clock.OF_STATE.learn(answer[-1], anew=late)
        done(failed("late") if late else outcomes)

    _run(shard, scripts.SETTLE, keys.of_tenant(shard, tenant_id), (message, str(deadline_us).encode()), settled)


def _decided(admission: Admission, answer: list[int] | Exception) -> None:
    if isinstance(answer, Exception):
        admission.done(failed(reason_of(answer), answer))
        return
    outcome = answer[0]
    server_clock.OF_STATE.learn(answer[1], anew=outcome == deciding.LATE)
    if outcome == deciding.LATE and admission.tries:
        admit(admission)
    elif outcome == deciding.UNKNOWN:
        admission.done(CounterLost())
    else:
        admission.done(deciding.told(answer, admission.limits, admission.charges))


def _run(
    shard: int,
    script: Script,
    names: Sequence[bytes],
    arguments: Sequence[bytes],
    done: Callable[[list[int] | Exception], None],
    *,
    whole: bool = False,
    corked: bool = False,
) -> None:
    """The script's answer, or what kept it from answering; its text is sent to a server that does not know it."""
    head = ("EVAL", script.source) if whole else ("EVALSHA", script.sha)

    def answered(answers: Answers | Exception) -> None:
        answer = answers if isinstance(answers, Exception) else answers[0]
        if isinstance(answer, NoScriptError) and not whole:
            _run(shard, script, names, arguments, done, whole=True)
        else:
            done(answer)

    state_link(shard).ask(packed(*head, str(len(names)), *names, *arguments), answered, corked=corked)
