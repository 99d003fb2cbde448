"""Calls that a test hands to the waves itself: several in one turn of the loop, and no thread waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from billing import charging, contracts
from billing.admission import on_loop
from billing.admission.on_loop import Admission
from inference.engine import waves
from inference.engine.preparing import Prepared, prepare_single
from inference.engine.wave_call import WaveCall
from inference.registry import live
from inference.types import CallContext, PredictRequest
from mlplatform.lib import clock, event_loop
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import authenticate
from tests.conftest import Customer

ENDS_WITHIN_S = 30.0


@dataclass(eq=False)
class Sent:
    """One call, and how often it was told what became of it."""

    customer: Customer
    call: WaveCall = field(init=False)
    ends: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def tell(self, _: WaveCall) -> None:
        self.ends += 1
        self.ended.set()

    @property
    def item(self) -> Prepared:
        """Its one input."""
        (item,) = self.call.items
        return item

    @property
    def outcome(self) -> bytes | Exception:
        """The scores or the problem, once there is one."""
        assert self.ended.wait(ENDS_WITHIN_S), "the call never ended"
        outcome = self.call.problem or self.item.outcome
        assert outcome is not None
        return outcome

    @property
    def problem(self) -> ErrorKind | None:
        """The kind of the problem; None where it was answered."""
        outcome = self.outcome
        if isinstance(outcome, PlatformError):
            return outcome.kind
        assert isinstance(outcome, bytes), outcome
        return None

    @property
    def answered(self) -> list[Prepared]:
        """Its inputs that have scores."""
        assert self.ended.wait(ENDS_WITHIN_S), "the call never ended"
        return [] if self.call.problem else [item for item in self.call.items if isinstance(item.outcome, bytes)]

    @property
    def units(self) -> int:
        """What it paid."""
        return sum(item.units for item in self.answered) + (self.call.fee if self.answered else 0)


def made(
    customer: Customer,
    *texts: str,
    model: str = "large",
    name: str = "",
    fee: int = 0,
    whole: bool = False,
    is_bulk: bool = False,
    **changes: Any,
) -> Sent:
    """A call that is ready to join a wave. ``name`` is its request id."""
    fields: dict[str, Any] = {"request_id": name or texts[0], "operation": "predict", "api_version": "v2", "client": ""}
    context = CallContext(**{**fields, **changes})
    caller = authenticate(customer.secret, address="192.0.2.1")
    contract = contracts.contract_of(caller)
    items = [prepare_single(caller, PredictRequest(model, text), context) for text in texts]
    started = clock.monotonic()
    sent = Sent(customer)
    sent.call = WaveCall(
        contract,
        context,
        items,
        limits=contract.limits_for((items[0].ref.qualified_name,)),
        served=live.current(),
        started=started,
        deadline=started + context.timeout_s,
        done=sent.tell,
        fee=fee,
        whole=whole,
        is_bulk=is_bulk,
    )
    return sent


def join(*sent: Sent) -> None:
    """All of them in one turn of the loop."""
    event_loop.call(lambda: waves.join([each.call for each in sent]))


def together(*sent: Sent) -> list[ErrorKind | None]:
    """The same, and what became of each."""
    join(*sent)
    return [each.problem for each in sent]


def count_this_month(*customers: Customer) -> None:
    """The counters of the month stand, as they do after a tenant's first call of it."""
    for customer in customers:
        contract = contracts.contract_of(authenticate(customer.secret, address="192.0.2.1"))
        charging.peek(contract=contract, limits=contract.limits)


@dataclass(frozen=True)
class Run:
    """One run of the admission script."""

    tenant_id: int
    charges: int
    request_id: str
    settle_now: bool
    at: float


class Runs(list[Run]):
    """Those of a test, in the order in which they were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        admit: Callable[[Admission], None] = on_loop.admit

        def noted(admission: Admission) -> None:
            self.append(
                Run(
                    admission.subject.tenant_id,
                    len(admission.charges),
                    admission.request_id,
                    admission.settle_now,
                    time.monotonic(),
                )
            )
            admit(admission)

        monkeypatch.setattr(on_loop, "admit", noted)

    @property
    def sizes(self) -> Sequence[int]:
        return [run.charges for run in self]
