"""What is remembered of ending versions: sampled calls, who was told, and rehearsed migrations."""

import datetime as dt

from django.conf import settings
from django.db import models

from mlplatform.lib import clock, dates
from tenants.models import DeprecationSchedule, Tenant


def _now() -> dt.datetime:
    return clock.now()


class CallSample(models.Model):
    """One call of an ending version, kept at most 30 days.

    ``body`` and ``answer`` are JSON. Unless the tenant opted in (``whole``), only their shape is kept: every text and
    number of the customer is replaced by what it was. ``expected`` is the same answer as the successor writes it, where
    an API version ends.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="call_samples")
    kind = models.CharField(max_length=16)
    subject = models.CharField(max_length=200)
    api_version = models.CharField(max_length=16)
    model = models.CharField(max_length=200, help_text="As the call named it, such as sentiment or sentiment@1.0.0.")
    key_uid = models.CharField("key", max_length=24)
    client = models.CharField(max_length=120, blank=True)
    body = models.JSONField()
    answer = models.JSONField()
    expected = models.JSONField(null=True, blank=True)
    whole = models.BooleanField(default=False)
    called_at = models.DateTimeField()

    class Meta:
        ordering = ["-called_at"]
        indexes = [
            models.Index(fields=["tenant", "kind", "subject", "-called_at"], name="sample_tenant_subject"),
            models.Index(fields=["called_at"], name="sample_time"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} of {self.tenant_id} at {dates.moment(self.called_at)}"


class Notice(models.Model):
    """One tenant was told of one moment of one schedule. The row is unique, so no tenant is told twice.

    ``moment`` is ``announcement``, ``90d``, ``30d``, ``7d``, ``1d`` (with an extension ``30d:<its date>``), ``brownout:<id>`` or
    ``message:<id>``. ``sent_at`` is empty until the e-mail has gone out. From ``next_try_at`` on sending is tried again; it is
    empty where there is nothing to try: sent, given up, or without an address. ``text`` and ``html`` quote no call of a
    customer, even where the e-mail did.
    """

    schedule = models.ForeignKey(DeprecationSchedule, on_delete=models.CASCADE, related_name="notices")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="notices")
    moment = models.CharField(max_length=48)
    subject = models.CharField(max_length=200)
    text = models.TextField()
    html = models.TextField()
    recipients = models.JSONField(default=list)
    created_at = models.DateTimeField(default=_now, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True)
    next_try_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["schedule", "tenant", "moment"], name="one_notice_a_tenant_and_moment")
        ]

    def __str__(self) -> str:
        return f"{self.moment} of {self.schedule_id} to {self.tenant_id}"


class RehearsalState(models.TextChoices):
    QUEUED = "queued", "Queued"
    PROCESSING = "processing", "Processing"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"


class Verdict(models.TextChoices):
    READY = "ready", "Ready"
    NEEDS_WORK = "needs_work", "Needs work"


class Rehearsal(models.Model):
    """A tenant's sampled calls of an ending version, replayed on its successor; ``report`` tells what would change."""

    schedule = models.ForeignKey(DeprecationSchedule, on_delete=models.CASCADE, related_name="rehearsals")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="rehearsals")
    state = models.CharField(max_length=16, choices=RehearsalState, default=RehearsalState.QUEUED)
    verdict = models.CharField(max_length=16, choices=Verdict, blank=True)
    report = models.JSONField(default=dict)
    error = models.CharField(max_length=500, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["schedule", "tenant"],
                condition=models.Q(state__in=["queued", "processing"]),
                name="one_open_rehearsal_a_tenant",
            )
        ]

    def __str__(self) -> str:
        return f"Rehearsal of {self.schedule_id} for {self.tenant_id}: {self.verdict or self.state}"
