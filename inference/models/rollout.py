"""How versions came to answer: promotions, and candidates that are tried on a share of the calls or beside them."""

import datetime as dt

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from inference.models.ml_model import MLModel
from inference.models.model_version import ModelVersion
from mlplatform.lib import clock, dates


def _now() -> dt.datetime:
    return clock.now()


class PromotionReason(models.TextChoices):
    PROMOTED = "promoted", "Promoted"
    ROLLED_BACK = "rolled_back", "Rolled back"
    CANARY_PASSED = "canary_passed", "Canary passed"


class Promotion(models.Model):
    """One switch of a model's live version; never changed. ``previous`` is where a rollback goes."""

    model = models.ForeignKey(MLModel, on_delete=models.PROTECT, related_name="promotions")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="promotions")
    previous = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    reason = models.CharField(max_length=16, choices=PromotionReason, default=PromotionReason.PROMOTED)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    at = models.DateTimeField(default=_now, editable=False)

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [models.Index(fields=["model", "-at"], name="promotion_model_newest")]

    def __str__(self) -> str:
        return f"{self.version} at {dates.moment(self.at)}"


class RolloutKind(models.TextChoices):
    CANARY = "canary", "Canary"
    SHADOW = "shadow", "Shadow"


class RolloutState(models.TextChoices):
    RUNNING = "running", "Running"
    PROMOTED = "promoted", "Promoted"
    ROLLED_BACK = "rolled_back", "Rolled back"
    STOPPED = "stopped", "Stopped"


class Rollout(models.Model):
    """A candidate that is tried beside the live version.

    A canary answers the calls of ``percent`` of the tenants, always the same ones; it ends by itself when its error rate or
    its median latency breaks its bound after ``min_calls`` calls. A shadow computes ``percent`` of the inputs once more,
    answers no call and charges nothing. ``observed`` is what was seen of it so far.
    """

    model = models.ForeignKey(MLModel, on_delete=models.PROTECT, related_name="rollouts")
    candidate = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="rollouts")
    kind = models.CharField(max_length=8, choices=RolloutKind)
    percent = models.PositiveSmallIntegerField(default=5, validators=[MinValueValidator(1), MaxValueValidator(100)])
    state = models.CharField(max_length=16, choices=RolloutState, default=RolloutState.RUNNING, editable=False)
    max_error_rate = models.FloatField(
        default=0.02,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text="Share of the canary's inputs that may fail.",
    )
    max_latency_ratio = models.FloatField(
        default=2.0,
        validators=[MinValueValidator(1.0), MaxValueValidator(100.0)],
        help_text="How many times the live version's latency the canary's may be.",
    )
    min_calls = models.PositiveIntegerField(
        default=50, validators=[MinValueValidator(1)], help_text="How many calls must be seen before the bounds count."
    )
    observed = models.JSONField(default=dict, editable=False)
    reason = models.CharField(max_length=300, blank=True, editable=False)
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    started_at = models.DateTimeField(default=_now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-started_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "kind"],
                condition=models.Q(state="running"),
                name="one_running_rollout_a_model_and_kind",
            ),
            models.CheckConstraint(condition=models.Q(percent__gte=1, percent__lte=100), name="rollout_percent_sane"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.candidate} ({self.percent} %)"
