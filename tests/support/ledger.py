"""What the state Redis holds of a customer's spending; by this, tests show that nothing was charged."""

from dataclasses import dataclass
from typing import Any

import msgspec

from billing import admission, contracts
from billing.admission import keys
from billing.metering import ledger as metering_ledger
from mlplatform.lib import redis
from tenants import authentication
from tenants.models import Tenant
from tests.conftest import Customer


@dataclass(frozen=True)
class Record:
    """One usage record that waits in the shard's stream."""

    units: int
    body: dict[str, Any]


def records(tenant: Tenant) -> list[Record]:
    """The tenant's usage records that were not drained yet, in order, but for those that were taken back."""
    found = []
    entries: Any = redis.state().xrange(keys.usage_stream(tenant.shard))
    voided = {fields.get(b"void") for _, fields in entries}
    for _, fields in entries:
        if b"void" in fields or fields[b"id"] in voided:
            continue
        body = msgspec.msgpack.decode(fields[b"record"])
        if body["tenant_id"] == tenant.pk:
            found.append(Record(int(fields[b"units"]), body))
    return found


def units(tenant: Tenant) -> int:
    """The sum of the records."""
    return sum(record.units for record in records(tenant))


def holds(tenant: Tenant) -> int:
    """How many holds are open; the marks of those that ended do not count."""
    state, *_ = keys.of_tenant(tenant.shard, tenant.pk)
    fields: dict[Any, Any] = redis.state().hgetall(state)
    # In MessagePack, a hold is a short list; a mark is a letter.
    return sum(field.startswith(b"+") and 0x90 <= packed[0] <= 0x9F for field, packed in fields.items())


def assert_untouched(customer: Customer) -> None:
    """Nothing was ever taken, held or recorded for the customer: each limit is whole, and the stream is empty."""
    assert records(customer.tenant) == []
    assert holds(customer.tenant) == 0
    caller = authentication.authenticate(customer.secret, address="127.0.0.1", fresh=True)
    contract = contracts.contract_of(caller)
    decision = admission.peek(
        subject=contract.subject, limits=contract.limits, month_to_date=metering_ledger.month_to_date
    )
    assert decision.states
    assert {state.limit.name: state.remaining for state in decision.states} == {
        state.limit.name: state.limit.amount for state in decision.states
    }
