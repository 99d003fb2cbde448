"""The ledger: immutable usage records, and their daily sums."""

from typing import Final

from django.db import models
from django.db.models import Q

from billing.models.meters import MAX_METER_CHARS
from mlplatform.lib import dates
from tenants.models import Tenant

_COUNTS: Final = ("inputs", "units", "saved_units", "requests", "model_requests", "version_requests")


class UsageRecord(models.Model):
    """One immutable metered fact. Its id is the id of the hold that was settled, so it is stored once, however often it comes.

    A record that ``voids`` another takes it back: the same with negative counts, in the same day, so that sums are as if
    neither had been. The call had been told that nothing was charged.
    """

    id = models.CharField(primary_key=True, max_length=64, editable=False)
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.PROTECT,
        related_name="usage_records",
        db_index=False,  # usage_tenant_time begins with it
    )
    key_uid = models.CharField("key", max_length=24)
    occurred_at = models.DateTimeField()
    request_id = models.CharField(max_length=128)
    operation = models.CharField(max_length=16)
    model = models.CharField(max_length=MAX_METER_CHARS, blank=True)
    model_version = models.CharField(max_length=64, blank=True)
    api_version = models.CharField("API version", max_length=16, blank=True)
    inputs = models.IntegerField(default=1)
    cached = models.BooleanField(default=False)
    units = models.BigIntegerField()
    saved_units = models.BigIntegerField(default=0, help_text="What it would have cost more, had no cache answered it.")
    requests = models.SmallIntegerField(
        default=1, help_text="1 for the one record that counts the call: its only input, or the call itself."
    )
    model_requests = models.SmallIntegerField(
        "calls of the model", default=1, help_text="1 for the first record of each model in a call."
    )
    version_requests = models.SmallIntegerField(
        "calls of the version", default=1, help_text="1 for the first record of each model version in a call."
    )
    client = models.CharField(max_length=120, blank=True)
    voids = models.OneToOneField(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="voided_by",
        help_text="The record that this one takes back, because its call was told that nothing was charged.",
    )

    class Meta:
        ordering = ["-occurred_at"]
        constraints = [
            models.CheckConstraint(
                name="usage_negative_only_to_void",
                condition=Q(voids__isnull=True, **{f"{name}__gte": 0 for name in _COUNTS})
                | Q(voids__isnull=False, **{f"{name}__lte": 0 for name in _COUNTS}),
            )
        ]
        indexes = [
            models.Index(fields=["tenant", "-occurred_at"], name="usage_tenant_time"),
            models.Index(fields=["-occurred_at"], name="usage_time"),
            models.Index(fields=["key_uid", "-occurred_at"], name="usage_key_time"),
            models.Index(fields=["model", "-occurred_at"], name="usage_model_time"),
            models.Index(fields=["request_id"], name="usage_request"),
        ]

    def __str__(self) -> str:
        return f"{self.units} units for {self.model or self.operation} at {dates.moment(self.occurred_at)}"


class UsageRollup(models.Model):
    """The sums of one day (UTC), tenant, key, model, API version and operation.

    Written in the transaction that stores the records, so it is never behind them and never counts one twice.
    """

    day = models.DateField()
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.PROTECT,
        related_name="usage_rollups",
        db_index=False,  # rollup_tenant_day begins with it
    )
    key_uid = models.CharField("key", max_length=24)
    model = models.CharField(max_length=MAX_METER_CHARS, blank=True)
    api_version = models.CharField("API version", max_length=16, blank=True)
    operation = models.CharField(max_length=16)
    calls = models.PositiveBigIntegerField(
        default=0, help_text="Each call once: on its only input, or on the call itself."
    )
    model_calls = models.PositiveBigIntegerField(
        "calls of the model", default=0, help_text="Calls that named the model, or, without a model, that had a fee."
    )
    inputs = models.PositiveBigIntegerField(default=0)
    cached_inputs = models.PositiveBigIntegerField(default=0)
    units = models.PositiveBigIntegerField(default=0)
    saved_units = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["-day"]
        verbose_name = "daily usage"
        verbose_name_plural = "daily usage"
        constraints = [
            models.UniqueConstraint(
                fields=["day", "tenant", "key_uid", "model", "api_version", "operation"],
                name="one_rollup_a_day_and_subject",
            )
        ]
        indexes = [
            models.Index(fields=["tenant", "day"], name="rollup_tenant_day"),
            models.Index(fields=["model", "day"], name="rollup_model_day"),
        ]

    def __str__(self) -> str:
        return f"{dates.day(self.day)} {self.tenant_id} {self.model}: {self.units} units"
