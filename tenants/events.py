"""Events of tenants: recorded with what they tell, delivered by webhooks."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from mlplatform.lib import clock
from tenants.models import Event

_AT_ONCE: Final = 500


def record(*, tenant_id: int, type: str, data: Mapping[str, Any]) -> Event:  # noqa: A002 - the field's name on the wire
    """Write one event; in the caller's transaction, so that it is there exactly if the fact is."""
    return Event.objects.create(tenant_id=tenant_id, type=type, data=dict(data), occurred_at=clock.now())


def record_all(*, tenant_ids: Iterable[int], type: str, data: Mapping[str, Any]) -> list[Event]:  # noqa: A002
    """The same fact for many tenants, each its own event; in the caller's transaction."""
    now = clock.now()
    rows = [Event(tenant_id=tenant_id, type=type, data=dict(data), occurred_at=now) for tenant_id in tenant_ids]
    return Event.objects.bulk_create(rows, batch_size=_AT_ONCE)
