"""What is counted as one call: its inputs and its fee, what is held for them, and what the ledger will say of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from billing import charging, pricing
from billing.admission import Charge
from billing.contracts import Contract
from inference.engine import bulk
from inference.engine.preparing import Prepared
from inference.engine.wave_call import WaveCall
from inference.types import CallContext
from mlplatform.lib.errors import PlatformError
from mlplatform.lib.ids import hex_id


class _Counts(NamedTuple):
    """What one charge counts for: 1 for the call, for its model in the call, for its version in the call; else 0."""

    call: int
    model: int
    version: int


_UNCOUNTED: Final = _Counts(call=0, model=0, version=0)
_ONCE: Final = _Counts(call=1, model=1, version=1)


@dataclass(slots=True)
class Call:
    """The inputs of one call, its fee, and whether all is metered since its admission.

    A call with a fee or several inputs has a charge of its own, ``fee_hold_id``, which counts it: which inputs fail makes no
    difference to how many calls there were.
    ``groups`` are those of a bulk call, whose inputs are not held one by one.
    """

    items: Sequence[Prepared]
    groups: Sequence[bulk.Group] = ()
    fee: int = 0
    fee_hold_id: str = ""
    metered: bool = False

    @property
    def hold_ids(self) -> list[str]:
        """Everything that is held for it."""
        inputs = [group.hold_id for group in self.groups] or [item.hold_id for item in self.items]
        return [self.fee_hold_id, *inputs] if self.fee_hold_id else inputs

    def is_answered(self, outcomes: Mapping[str, bytes | PlatformError]) -> bool:
        """Whether anything of it was answered, so that it counts as one."""
        return any(not isinstance(outcomes[item.hold_id], PlatformError) for item in self.items)

    def charges(self, contract: Contract, context: CallContext, *, bulk_call: bool) -> Iterator[Charge]:
        """What is to be admitted for it: a charge for each input or, of a bulk call, for each group; and its own."""
        if context.free:
            for item in self.items:
                record = _record(contract, context, item.request.call_id, _UNCOUNTED, item=item)
                yield Charge(item.hold_id, item.ref.qualified_name, 0, 0, record, 0)
            return
        # A call is one request however many inputs and models it has, and one for each model that it names.
        first_of_model = {item.ref.qualified_name: item for item in reversed(self.items)}
        first_of_version = {(item.ref.qualified_name, item.ref.version): item for item in reversed(self.items)}
        if bulk_call:
            self.groups = bulk.groups(self.items, context)
            yield from bulk.charges(self.groups, contract, context)
        self.fee = pricing.call_fee(operation=context.operation, models=set(first_of_model))
        alone = not self.fee and len(self.items) == 1
        for item in () if bulk_call else self.items:
            counts = _Counts(
                call=1 if alone else 0,
                model=1 if item is first_of_model[item.ref.qualified_name] else 0,
                version=1 if item is first_of_version[item.ref.qualified_name, item.ref.version] else 0,
            )
            record = _record(contract, context, item.request.call_id, counts, item=item)
            yield Charge(item.hold_id, item.ref.qualified_name, item.units, counts.call, record, counts.model)
        if not alone:
            self.fee_hold_id = hex_id()
            counts = _Counts(call=1, model=1 if self.fee else 0, version=0)
            record = _record(contract, context, self.items[0].request.call_id, counts, fee=self.fee)
            yield Charge(self.fee_hold_id, "", self.fee, counts.call, record, counts.model)


def charge_of_single(call: WaveCall) -> Charge:
    """What is to be admitted for a call of one input without a fee: it counts the call, its model and its version."""
    item, contract, context = call.item, call.contract, call.context
    name, units = item.ref.qualified_name, item.units
    if context.free:
        return Charge(
            item.hold_id, name, 0, 0, _record(contract, context, item.request.call_id, _UNCOUNTED, item=item), 0
        )
    return Charge(item.hold_id, name, units, 1, _record(contract, context, item.request.call_id, _ONCE, item=item), 1)


def _record(
    contract: Contract,
    context: CallContext,
    call_id: str,
    counts: _Counts,
    *,
    item: Prepared | None = None,
    fee: int = 0,
) -> bytes:
    return charging.record(
        contract=contract,
        request_id=call_id or context.request_id,
        operation=context.operation,
        model=item.ref.qualified_name if item else "",
        model_version=item.ref.version if item else "",
        api_version=context.api_version,
        inputs=1 if item else 0,
        cached=item is not None and item.entry is not None,
        requests=counts.call,
        model_requests=counts.model,
        version_requests=counts.version,
        held_units=item.full_units if item else fee,
        client=context.client,
    )
