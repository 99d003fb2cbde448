"""Limits as rows. The admission script evaluates them; see ``billing/admission``."""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from billing.admission.types import MAX_AMOUNT, MAX_WINDOW_S, refill_of
from billing.models.meters import MAX_METER_CHARS
from billing.models.plan import Plan
from tenants.models import ApiKey, Tenant


class LimitKind(models.TextChoices):
    TOKEN_BUCKET = "token_bucket", "Token bucket"
    FIXED_WINDOW = "fixed_window", "Fixed window"
    SLIDING_WINDOW = "sliding_window", "Sliding window"
    MONTHLY = "monthly", "Calendar month"
    CONCURRENCY = "concurrency", "Concurrency"


class Counts(models.TextChoices):
    UNITS = "units", "Units"
    REQUESTS = "requests", "Requests"


class LimitScope(models.TextChoices):
    TENANT = "tenant", "The tenant as a whole"
    KEY = "key", "Each key by itself"
    MODEL = "model", "One model"


class LimitRule(models.Model):
    """One rule, set by a plan, or for one tenant or one key; it adds to the others, so the tightest one decides."""

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, null=True, blank=True, related_name="limits")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="limits")
    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, null=True, blank=True, related_name="limits")
    name = models.CharField(
        max_length=32,
        validators=[
            RegexValidator(r"^[a-z][a-z0-9_-]*$", "Lower-case letters, digits, - and _; it is shown in headers.")
        ],
        help_text="Shown to customers in RateLimit headers, such as burst.",
    )
    kind = models.CharField(max_length=16, choices=LimitKind)
    counts = models.CharField(max_length=8, choices=Counts, default=Counts.UNITS)
    scope = models.CharField(max_length=8, choices=LimitScope, default=LimitScope.TENANT)
    model = models.CharField(
        max_length=MAX_METER_CHARS,
        blank=True,
        help_text="The model's name, for a limit of one model; tenant/name of a private one.",
    )
    amount = models.PositiveBigIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(MAX_AMOUNT)],
        help_text="Capacity of a bucket, quota of a window or month, or the number of concurrent requests.",
    )
    window_s = models.PositiveIntegerField("window (s)", default=0, help_text="Length of a fixed or sliding window.")
    rate = models.FloatField("refill a second", default=0.0, help_text="Of a token bucket.")

    class Meta:
        ordering = ["name"]
        verbose_name = "limit"
        constraints = [
            models.CheckConstraint(
                name="limit_has_one_owner",
                condition=Q(plan__isnull=False, tenant__isnull=True, key__isnull=True)
                | Q(plan__isnull=True, tenant__isnull=False, key__isnull=True)
                | Q(plan__isnull=True, tenant__isnull=True, key__isnull=False),
            ),
            models.UniqueConstraint(fields=["plan", "name"], name="limit_name_once_a_plan"),
            models.UniqueConstraint(fields=["tenant", "name"], name="limit_name_once_a_tenant"),
            models.UniqueConstraint(fields=["key", "name"], name="limit_name_once_a_key"),
            models.CheckConstraint(name="limit_amount_countable", condition=Q(amount__gte=1, amount__lte=MAX_AMOUNT)),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.describe()}"

    def describe(self) -> str:
        """The rule in words, such as ``200 units, refilled 20 a second``."""
        what = f"{self.amount:,} {self.counts}"
        match self.kind:
            case LimitKind.TOKEN_BUCKET:
                return f"{what}, refilled {self.rate:g} a second"
            case LimitKind.FIXED_WINDOW:
                return f"{what} in each {self.window_s:,} s"
            case LimitKind.SLIDING_WINDOW:
                return f"{what} in any {self.window_s:,} s"
            case LimitKind.MONTHLY:
                return f"{what} a calendar month"
            case _:
                return f"{self.amount:,} requests at a time"

    def in_full(self) -> str:
        """The same, and what it counts together: ``200 units, refilled 20 a second, for each key by itself``."""
        match self.scope:
            case LimitScope.KEY:
                return f"{self.describe()}, for each key by itself"
            case LimitScope.MODEL:
                return f"{self.describe()}, on calls of {self.model or 'a model'}"
            case _:
                return f"{self.describe()}, for the {'key' if self.key_id else 'tenant'} as a whole"

    def clean(self) -> None:
        """Each kind needs its own numbers; the message names the field and what to enter."""
        problems: dict[str, str] = {}
        if self.kind == LimitKind.TOKEN_BUCKET and self.amount is not None:
            try:
                refill_of(amount=self.amount, rate=self.rate)
            except ValueError as error:
                problems["rate"] = f"{str(error).capitalize()}."
        if self.kind in {LimitKind.FIXED_WINDOW, LimitKind.SLIDING_WINDOW} and not 1 <= self.window_s <= MAX_WINDOW_S:
            problems["window_s"] = f"A window is 1 to {MAX_WINDOW_S:,} s long."
        if self.kind == LimitKind.CONCURRENCY and self.counts != Counts.REQUESTS:
            problems["counts"] = "Concurrency counts requests."
        if (self.scope == LimitScope.MODEL) != bool(self.model):
            problems["model"] = "Name the model for a limit of one model, and only then."
        if problems:
            raise ValidationError(problems)
