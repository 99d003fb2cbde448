"""Calls that a customer's limits let through or refuse, made of admission alone: no worker, no request."""

from billing import charging, contracts
from billing.admission import Charge
from billing.charging import Refused
from mlplatform.lib import ids
from tenants import authentication
from tests.conftest import Customer


def spend(customer: Customer, units: int, *, request_id: str = "", model: str = "sentiment", secret: str = "") -> None:
    """A call of so many units. Raises Refused."""
    caller = authentication.authenticate(secret or customer.secret, address="127.0.0.1", fresh=True)
    contract = contracts.contract_of(caller)
    hold_id = ids.hex_id()
    record = charging.record(
        contract=contract,
        request_id=request_id or hold_id,
        operation="predict",
        model=model,
        model_version="1.0.0",
        api_version="v2",
        inputs=1,
        cached=True,
        requests=1,
        held_units=units,
        client="tests/1",
    )
    charging.charge(
        contract=contract,
        limits=contract.limits_for([model]),
        charges=[Charge(hold_id=hold_id, model=model, units=units, requests=1, record=record)],
        request_id=request_id or hold_id,
        hold_ttl_s=30.0,
        settle_now=True,
    )


def refuse(
    customer: Customer, request_id: str, *, units: int = 5_000, model: str = "sentiment", secret: str = ""
) -> None:
    """A call that asks for more than a limit ever lets through, or for more than is left."""
    try:
        spend(customer, units, request_id=request_id, model=model, secret=secret)
    except Refused:
        return
    raise AssertionError("the call was let through")
