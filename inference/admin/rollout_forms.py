"""Small forms of the rollouts' page: a canary with its bounds, and a shadow."""

from typing import TYPE_CHECKING, Any

from django import forms

from inference.models import MLModel, ModelVersion, Rollout, VersionState
from inference.registry.rollouts import sunset

if TYPE_CHECKING:
    from django.forms import NumberInput as UnfoldAdminDecimalFieldWidget
    from django.forms import NumberInput as UnfoldAdminIntegerFieldWidget
    from django.forms import Select as UnfoldAdminSelectWidget
else:
    from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget


def to_be_tried(model: MLModel) -> list[ModelVersion]:
    """Versions that are ready and have not ended by their schedule, the newest first."""
    ready = ModelVersion.objects.select_related("model__owner").filter(model=model, state=VersionState.READY)
    return sunset.without_ended(list(ready.order_by("-created_at")))


class ShadowForm(forms.Form):
    """Which ready version computes how many of the inputs beside the live one."""

    version = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    percent = forms.IntegerField(
        min_value=1,
        max_value=100,
        initial=100,
        label="Share of the inputs (%)",
        widget=UnfoldAdminIntegerFieldWidget,
    )

    def __init__(self, *, model: MLModel, running: Rollout | None, **given: Any) -> None:
        initial = {"version": running.candidate.version, "percent": running.percent} if running else {}
        super().__init__(**given, initial=initial)
        names = [running.candidate.version] if running else [version.version for version in to_be_tried(model)]
        chosen = self.fields["version"]
        assert isinstance(chosen, forms.ChoiceField)  # noqa: S101 - declared above
        chosen.choices = [(name, name) for name in names]


class CanaryForm(ShadowForm):
    """Which ready version answers how many of the tenants, and what ends it by itself."""

    max_error_rate = forms.FloatField(
        min_value=0,
        max_value=1,
        initial=0.02,
        label="Inputs that may fail (0 to 1)",
        widget=UnfoldAdminDecimalFieldWidget,
    )
    max_latency_ratio = forms.FloatField(
        min_value=1,
        max_value=100,
        initial=2.0,
        label="Times the live median latency",
        widget=UnfoldAdminDecimalFieldWidget,
    )
    min_calls = forms.IntegerField(
        min_value=1,
        max_value=1_000_000,
        initial=50,
        label="Inputs to see first",
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="The bounds count from then on.",
    )

    def __init__(self, *, model: MLModel, running: Rollout | None, **given: Any) -> None:
        super().__init__(model=model, running=running, **given)
        percent = self.fields["percent"]
        percent.label, percent.initial = "Share of the tenants (%)", 5
        if model.owner_id is not None:
            percent.initial, percent.help_text = 100, "A private model has one tenant, which is taken whole."
        if running is not None:
            for name in ("max_error_rate", "max_latency_ratio", "min_calls"):
                self.initial[name] = getattr(running, name)
