"""The points of an operation: held before it runs, settled with what was resolved, given back if nothing was."""

import math
from dataclasses import dataclass
from typing import Any, Final

from billing import admission, charging, contracts, pricing
from billing.admission import Charge, Decision, LimitState, Settlement
from billing.contracts import Contract
from billing.models import Operation
from inference.engine.charges import HOLD_MARGIN_S
from mlplatform.graphql.cost import Cost
from mlplatform.lib.ids import hex_id
from tenants.graphql.call import GraphQLCall

_API_VERSION: Final = "graphql"


def units_of(points: int) -> int:
    """What so many points cost: the price of an input of the operation is that of a point."""
    tariff = pricing.tariff(operation=Operation.GRAPHQL.value, model="")
    return tariff.per_call + tariff.per_input * points


@dataclass(frozen=True, slots=True)
class Hold:
    """The points of one operation, on hold. It must be settled or given back once."""

    contract: Contract
    hold_id: str
    units: int
    decision: Decision

    def settle(self, units: int) -> None:
        """Charge what was used, at most what is held; the rest is given back. Raises UNAVAILABLE; then it is to be given back."""
        subject = self.contract.subject
        holds = [Settlement(hold_id=self.hold_id, units=min(units, self.units))]
        admission.settle(tenant_id=subject.tenant_id, shard=subject.shard, holds=holds)

    def give_back(self) -> None:
        """Charge nothing; while Redis is away, as soon as it answers."""
        charging.take_back(self.contract.subject, self.hold_id)


def hold(call: GraphQLCall, cost: Cost) -> Hold:
    """Hold the points, or raise what admission refuses with. Predictions beside them count as requests by themselves."""
    contract = contracts.contract_of(call.key)
    units, hold_id = units_of(cost.points), hex_id()
    # An operation that waits for its own predictions must not take their place among the concurrent requests. But what
    # costs no points always counts: beside a prediction that fails, the schema would be neither paid for nor counted.
    requests = 0 if cost.units and not cost.introspected else 1
    record = charging.record(
        contract=contract,
        request_id=call.request_id,
        operation=Operation.GRAPHQL.value,
        model="",
        model_version="",
        api_version=_API_VERSION,
        inputs=0,
        cached=False,
        requests=requests,
        model_requests=1,
        version_requests=0,
        held_units=units,
        client=call.client,
    )
    decision = charging.charge(
        contract=contract,
        limits=contract.limits_for(()),
        charges=[Charge(hold_id, "", units, requests, record, 1)],
        request_id=call.request_id,
        hold_ttl_s=call.timeout_s + HOLD_MARGIN_S,
        settle_now=False,
    )
    return Hold(contract, hold_id, units, decision)


def report(
    cost: Cost, *, points: int, held: int, settled: int, predicted: int, limit: int, decision: Decision | None
) -> dict[str, Any]:
    """``extensions.cost``: units that were held at most and charged in fact, by part, and what the limits let pass."""
    told: dict[str, Any] = {
        "requested": held + cost.units,
        "actual": settled + predicted,
        "units": {
            "graphql": {"requested": held, "actual": settled},
            "predictions": {"requested": cost.units, "actual": predicted},
        },
        "points": {"requested": cost.points, "actual": points, "limit": limit},
    }
    if decision is not None and decision.states:
        told["throttle"] = _throttle(decision)
    return told


def _throttle(decision: Decision) -> dict[str, Any]:
    policies = [{"name": state.limit.name, "counts": state.limit.counts, **_left(state)} for state in decision.states]
    return _left(admission.tightest(decision)) | {"policies": policies}


def _left(state: LimitState) -> dict[str, int]:
    return {
        "limit": state.limit.amount,
        "remaining": max(0, state.remaining),
        "resetSeconds": math.ceil(state.reset_s),
    }
