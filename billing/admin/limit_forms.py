"""The form of a limit: each kind has its own numbers, and the rule is said in a sentence while it is entered."""

import json
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from billing.admin.model_choice import ModelChoiceForm
from billing.models import Counts, LimitKind, LimitRule, LimitScope

if TYPE_CHECKING:
    from django.forms import Select as UnfoldAdminSelectWidget
else:
    from unfold.widgets import UnfoldAdminSelectWidget

RULE: Final = ("name", "kind", "counts", "amount", "rate", "window_s", "scope", "model")

_OF_KIND: Final[dict[str, tuple[str, ...]]] = {
    LimitKind.TOKEN_BUCKET: ("counts", "rate"),
    LimitKind.FIXED_WINDOW: ("counts", "window_s"),
    LimitKind.SLIDING_WINDOW: ("counts", "window_s"),
    LimitKind.MONTHLY: ("counts",),
    LimitKind.CONCURRENCY: (),
}
"""The fields that only some kinds have."""
_OF_SCOPE: Final[dict[str, tuple[str, ...]]] = {
    LimitScope.TENANT: (),
    LimitScope.KEY: (),
    LimitScope.MODEL: ("model",),
}


class RuleForm(ModelChoiceForm):
    """A limit without its owner. ``platform/limit_form.js`` shows the fields that the kind has, and the sentence."""

    no_model = "–"
    about_model = "The one model whose calls are counted."

    class Meta:
        model = LimitRule
        fields = RULE

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for chooser, shows in (("kind", _OF_KIND), ("scope", _OF_SCOPE)):
            if chooser in self.fields:
                self.fields[chooser].widget.attrs["data-shows"] = json.dumps(shows)
        for name in ("counts", "rate", "window_s"):
            if name in self.fields:
                self.fields[name].required = False

    def clean(self) -> dict[str, Any] | None:
        """What the kind does not have is emptied: the form does not show it."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        kept = _OF_KIND.get(cleaned.get("kind", ""), ("counts", "rate", "window_s"))
        cleaned["rate"] = (cleaned.get("rate") or 0.0) if "rate" in kept else 0.0
        cleaned["window_s"] = (cleaned.get("window_s") or 0) if "window_s" in kept else 0
        if "counts" not in kept:
            cleaned["counts"] = Counts.REQUESTS
        cleaned["counts"] = cleaned.get("counts") or Counts.UNITS
        if cleaned.get("scope") != LimitScope.MODEL:
            cleaned["model"] = ""
        return cleaned


class LimitForm(RuleForm):
    """A limit on a page of its own."""

    class Meta:
        model = LimitRule
        fields = ("plan", "tenant", "key", *RULE)

    def clean(self) -> dict[str, Any] | None:
        """A new limit names exactly one owner; the owner of an old one cannot change."""
        cleaned = super().clean()
        if not self.instance.pk and sum(bool(self.cleaned_data.get(owner)) for owner in ("plan", "tenant", "key")) != 1:
            raise ValidationError("Choose whom the limit binds: one plan, one tenant, or one key.")
        return cleaned


class _Sentence(RuleForm):
    class Meta:
        model = LimitRule
        fields = RULE[1:]
        widgets = {"kind": UnfoldAdminSelectWidget}


def sentence(entered: QueryDict, *, model_names: list[str]) -> tuple[str, bool]:
    """What the numbers mean, and whether they can be saved; else what is missing."""
    form = _Sentence(entered)
    form.model_names = model_names
    field = form.fields["model"]
    assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared by its base
    field.choices = [(name, name) for name in ("", *model_names)]
    if form.is_valid():
        return form.instance.in_full(), True
    name, errors = next(iter(form.errors.items()))
    label = "" if name == "__all__" else f"{form[name].label}: "
    return f"{label}{errors[0]}", False
