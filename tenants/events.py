"""Events of tenants: recorded with what they tell, delivered by webhooks."""

from collections.abc import Mapping
from typing import Any

from mlplatform.lib import clock
from tenants.models import Event


def record(*, tenant_id: int, type: str, data: Mapping[str, Any]) -> Event:  # noqa: A002 - the field's name on the wire
    """Write one event; in the caller's transaction, so that it is there exactly if the fact is."""
    return Event.objects.create(tenant_id=tenant_id, type=type, data=dict(data), occurred_at=clock.now())
