"""Contracts: what a tenant pays a month, and what that includes."""

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from billing.admission.types import MAX_AMOUNT
from mlplatform.lib import dates
from tenants.models import Tenant


class Plan(models.Model):
    """A monthly fee with included units, and what happens after them: a price a unit, or a hard cap."""

    name = models.CharField(max_length=100, unique=True)
    description = models.CharField(max_length=300, blank=True)
    currency = models.CharField(
        max_length=3,
        default="EUR",
        validators=[RegexValidator(r"^[A-Z]{3}$", "An ISO 4217 code such as EUR.")],
    )
    monthly_fee = models.DecimalField(max_digits=12, decimal_places=2, default=0, validators=[MinValueValidator(0)])
    included_units = models.PositiveBigIntegerField(
        default=0,
        validators=[MaxValueValidator(MAX_AMOUNT)],
        help_text="Units a calendar month (UTC) that the fee includes.",
    )
    overage_price = models.DecimalField(
        max_digits=14,
        decimal_places=8,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="Price of one unit beyond the included ones. Leave empty for a hard cap.",
    )
    weight = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Its tenants' share of busy workers, against a tenant of weight 1.",
    )
    model_versions = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Versions of its own models that a tenant may keep. Leave empty for the platform's number.",
    )
    model_bytes = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text="Bytes that their files may have together. Leave empty for the platform's number.",
    )
    model_memory_mb = models.PositiveIntegerField(
        "model memory (MB)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Megabytes that the processes of its models may take together in one worker: each counts with all that it may "
        "take. Leave empty for the platform's number.",
    )
    pushes_per_hour = models.PositiveIntegerField(
        "pushes an hour",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Packages that a tenant may push an hour over REST, good or bad, one at a time. Leave empty for the platform's "
        "number; for none at all let it keep 0 versions.",
    )
    pixels_per_s = models.PositiveBigIntegerField(
        "pixels a second",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Pixels of images a second that a process unpacks for a tenant, all its keys together. Leave empty for the "
        "platform's number, which each key has for itself.",
    )
    archived = models.BooleanField(default=False, help_text="Not offered to new tenants; running subscriptions go on.")

    class Meta:
        ordering = ["monthly_fee", "name"]
        constraints = [
            models.CheckConstraint(condition=models.Q(included_units__lte=MAX_AMOUNT), name="plan_units_countable")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def hard_cap(self) -> bool:
        """Whether calls are refused once the included units of the month are used."""
        return self.overage_price is None


class Subscription(models.Model):
    """A tenant is on a plan from a moment on, until its next subscription starts."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="subscriptions")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="subscriptions")
    starts_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-starts_at"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "starts_at"], name="one_subscription_a_tenant_and_start")
        ]

    def __str__(self) -> str:
        return f"{self.tenant} on {self.plan} from {dates.day(self.starts_at)}"
