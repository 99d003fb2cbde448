"""Records that take others back: for calls that were told "nothing was charged" although the state Redis had metered them.

The state Redis reverses such a settlement as soon as it answers again, and says so in the shard's stream, after the record.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final

from billing.metering import entries as usage_entries
from billing.metering.entries import Void
from billing.models import UsageRecord
from mlplatform.lib import clock

_WAIT: Final = dt.timedelta(hours=1)
"""How long a void waits for its record, which another drainer may have taken from the stream and not stored yet."""


def counter_records(
    voids: Mapping[bytes, Void], records: Sequence[UsageRecord]
) -> tuple[dict[bytes, UsageRecord], set[bytes], dict[bytes, str]]:
    """For the voids of some entries of a stream, by entry: the records to store; the entries that came before their record,
    which lies neither in the ledger nor in ``records``; and the reason for those that have waited in vain.
    """
    if not voids:
        return {}, set(), {}
    known = {record.id: record for record in records}
    known |= UsageRecord.objects.in_bulk([void.hold_id for void in voids.values()])
    counter: dict[bytes, UsageRecord] = {}
    early: set[bytes] = set()
    lost: dict[bytes, str] = {}
    for entry_id, void in voids.items():
        record = known.get(void.hold_id)
        if record is not None:
            counter[entry_id] = counter_record(record)
        elif clock.now() - void.at < _WAIT:
            early.add(entry_id)
        else:
            lost[entry_id] = f"there is no record {void.hold_id} to take back"
    return counter, early, lost


def counter_record(record: UsageRecord) -> UsageRecord:
    """The record that takes this one back; always of the same id, so that it is stored once."""
    return UsageRecord(
        id=f"{record.id}{usage_entries.VOID_SUFFIX}",
        tenant_id=record.tenant_id,
        key_uid=record.key_uid,
        occurred_at=record.occurred_at,
        request_id=record.request_id,
        operation=record.operation,
        model=record.model,
        model_version=record.model_version,
        api_version=record.api_version,
        inputs=-record.inputs,
        cached=record.cached,
        units=-record.units,
        saved_units=-record.saved_units,
        requests=-record.requests,
        model_requests=-record.model_requests,
        version_requests=-record.version_requests,
        client=record.client,
        voids_id=record.id,
    )
