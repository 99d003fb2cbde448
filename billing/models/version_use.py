"""Which version who still calls, and with what: the sums from which impact is read."""

from django.db import models

from billing.models.meters import MAX_METER_CHARS
from tenants.models import Tenant


class VersionUse(models.Model):
    """The calls of one day (UTC), tenant, key, API version, model version and client (user agent).

    ``calls`` counts each call once, so its sums are calls of an API version; ``version_calls`` counts a call once for each
    model version that it names. Written in the transaction that stores the usage records, so it is a sum of them and never
    counts one twice.
    """

    day = models.DateField()
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="version_uses")
    key_uid = models.CharField("key", max_length=24)
    api_version = models.CharField(max_length=16, blank=True)
    model = models.CharField(max_length=MAX_METER_CHARS, blank=True)
    model_version = models.CharField(max_length=64, blank=True)
    client = models.CharField(max_length=120, blank=True)
    calls = models.PositiveBigIntegerField(default=0)
    version_calls = models.PositiveBigIntegerField("calls of the model version", default=0)
    units = models.PositiveBigIntegerField(default=0)
    last_call_at = models.DateTimeField()

    class Meta:
        ordering = ["-day"]
        constraints = [
            models.UniqueConstraint(
                fields=["day", "tenant", "key_uid", "api_version", "model", "model_version", "client"],
                name="one_version_use_a_day_and_subject",
            )
        ]
        indexes = [
            models.Index(fields=["api_version", "day"], name="version_use_api_day"),
            models.Index(fields=["model", "model_version", "day"], name="version_use_model_day"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.tenant_id} {self.api_version} {self.model}@{self.model_version}: {self.calls} calls"
