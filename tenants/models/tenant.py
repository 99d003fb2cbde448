"""One customer organisation."""

from django.db import models

SHARDS = 64


class TenantStatus(models.TextChoices):
    ACTIVE = "active", "Active"
    SUSPENDED = "suspended", "Suspended"


class Tenant(models.Model):
    """Owns keys, members, jobs, usage and invoices.

    ``version`` grows with every change that a cached caller must notice; the admission script compares it.
    """

    slug = models.SlugField(max_length=63, unique=True, help_text="Short name in addresses and reports; never changes.")
    name = models.CharField(max_length=200)
    status = models.CharField(max_length=16, choices=TenantStatus, default=TenantStatus.ACTIVE)
    shard = models.PositiveSmallIntegerField(editable=False, help_text="One of 64 groups of Redis keys.")
    default_model = models.CharField(
        max_length=63,
        blank=True,
        help_text="Answers calls that name no model; empty means that each call must name one.",
    )
    keeps_calls = models.BooleanField(
        "keeps sampled calls",
        default=False,
        help_text="Opted in to samples of calls of ending versions being kept whole for 30 days, to rehearse a migration.",
    )
    operator = models.BooleanField(
        default=False,
        help_text="The organisation that runs this platform: its keys with models:write manage every model.",
    )
    version = models.BigIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=models.Q(shard__lt=SHARDS), name="tenant_shard_in_range"),
            models.CheckConstraint(condition=models.Q(status__in=TenantStatus.values), name="tenant_status_known"),
        ]

    def __str__(self) -> str:
        return self.name
