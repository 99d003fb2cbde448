"""What happened, as a tenant's programs will be told by webhooks."""

import uuid

from django.db import models

from mlplatform.lib import dates, ids
from tenants.models.tenant import Tenant


def _new_id() -> uuid.UUID:
    return ids.uuid7()


class Event(models.Model):
    """One fact about one tenant. Written in the transaction of what it tells; delivered by webhooks, and never changed."""

    id = models.UUIDField(primary_key=True, default=_new_id, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="events")
    type = models.CharField(max_length=64)
    data = models.JSONField()
    occurred_at = models.DateTimeField()

    class Meta:
        ordering = ["-occurred_at"]
        indexes = [models.Index(fields=["tenant", "-occurred_at"], name="event_tenant_time")]

    def __str__(self) -> str:
        return f"{self.type} of {self.tenant_id} at {dates.moment(self.occurred_at)}"
