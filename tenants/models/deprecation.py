"""Deprecation schedules: when an API version or a model version ends, and what eases the way."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from mlplatform.lib import dates
from tenants.models.tenant import Tenant


class SubjectKind(models.TextChoices):
    API_VERSION = "api_version", "API version"
    MODEL_VERSION = "model_version", "Model version"


class Audience(models.TextChoices):
    EVERYONE = "everyone", "All tenants hear the announcement; those that use it hear everything"
    USERS = "users", "Only tenants that used it in the last 30 days"


class DeprecationSchedule(models.Model):
    """The end of one subject, named as a kind and a name, such as API version ``v1`` or model version ``sentiment@1.0.0``."""

    kind = models.CharField(max_length=16, choices=SubjectKind)
    subject = models.CharField(max_length=200, help_text="v1, or sentiment@1.0.0")
    announce_at = models.DateTimeField(help_text="From then on the schedule is public, and people are told.")
    deprecate_at = models.DateTimeField(help_text="From then on every answer carries deprecation headers.")
    sunset_at = models.DateTimeField(help_text="From then on calls get 410 Gone.")
    successor = models.CharField(max_length=200, help_text="What to use instead: v2, or sentiment@2.0.0")
    reason = models.TextField(help_text="Why it ends, for customers; one or two sentences.")
    short_notice_reason = models.TextField(
        blank=True, help_text="Why less than six months lie between deprecation and sunset; needed only then."
    )
    guide = models.TextField(
        help_text="The migration guide, Markdown. [[changes]] and [[samples]] stand for what the API descriptions say."
    )
    audience = models.CharField("who is told", max_length=16, choices=Audience, default=Audience.EVERYONE)
    canceled_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["sunset_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"],
                condition=models.Q(canceled_at__isnull=True),
                name="one_schedule_a_subject",
                violation_error_message="This subject has a schedule already; change or cancel that one.",
            ),
            models.CheckConstraint(
                condition=models.Q(announce_at__lte=models.F("deprecate_at"))
                & models.Q(deprecate_at__lt=models.F("sunset_at")),
                name="schedule_dates_in_order",
                violation_error_message="Announce, deprecate and sunset follow each other in this order.",
            ),
            models.CheckConstraint(condition=models.Q(kind__in=SubjectKind.values), name="schedule_kind_known"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.subject} until {dates.day(self.sunset_at)}"


class Brownout(models.Model):
    """A planned window in which a share of the calls of the subject fails; of all tenants, or rehearsed by one."""

    schedule = models.ForeignKey(DeprecationSchedule, on_delete=models.CASCADE, related_name="brownouts")
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="brownouts",
        help_text="Only this tenant's calls fail; empty means those of all.",
    )
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    share = models.PositiveSmallIntegerField(
        "share of calls (%)", default=100, validators=[MinValueValidator(1), MaxValueValidator(100)]
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["starts_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(starts_at__lte=models.F("ends_at")),
                name="brownout_ends_after_start",
                violation_error_message="A brownout ends after it starts.",
            ),
            models.CheckConstraint(
                condition=models.Q(share__gte=1) & models.Q(share__lte=100), name="brownout_share_in_percent"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.share} % of {self.schedule.subject} from {dates.moment(self.starts_at)} to {dates.moment(self.ends_at)}"


class Extension(models.Model):
    """A later sunset for one tenant."""

    schedule = models.ForeignKey(DeprecationSchedule, on_delete=models.CASCADE, related_name="extensions")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="extensions")
    until = models.DateTimeField(help_text="The tenant's own sunset; later than the schedule's.")
    reason = models.TextField()
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["until"]
        constraints = [
            models.UniqueConstraint(
                fields=["schedule", "tenant"],
                name="one_extension_a_tenant",
                violation_error_message="This tenant has an extension already; change that one.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.tenant} until {dates.day(self.until)}"
