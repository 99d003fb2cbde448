"""Forms of API keys: what a key may do, chosen from lists rather than typed as JSON."""

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django import forms
from django.core.exceptions import ValidationError

from mlplatform.lib.errors import PlatformError
from tenants import api_keys, api_versions
from tenants.admin.kit import ModelForm
from tenants.models import ApiKey
from tenants.scopes import DEFAULT_SCOPES, SCOPES

if TYPE_CHECKING:
    from django.forms import (
        CheckboxSelectMultiple as UnfoldAdminCheckboxSelectMultipleWidget,
    )
    from django.forms import (
        Select as UnfoldAdminSelectWidget,
    )
    from django.forms import (
        Textarea as UnfoldAdminTextareaWidget,
    )
else:
    from unfold.widgets import (
        UnfoldAdminCheckboxSelectMultipleWidget,
        UnfoldAdminSelectWidget,
        UnfoldAdminTextareaWidget,
    )

T = TypeVar("T")

_OVERLAPS: Final = {"0": "Stop at once", "1": "1 hour", "24": "1 day", "168": "7 days", "720": "30 days"}


class ApiKeyForm(ModelForm[ApiKey]):
    """Issues a key or changes one. ``model_names`` is set by the admin: this floor knows no models."""

    model_names = ()

    scopes = forms.MultipleChoiceField(
        choices=[(scope, f"{scope} · {meaning}") for scope, meaning in SCOPES.items()],
        initial=list(DEFAULT_SCOPES),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="What the key may do.",
    )
    allowed_models = forms.MultipleChoiceField(
        required=False, widget=UnfoldAdminCheckboxSelectMultipleWidget, help_text="Choose none to allow every model."
    )
    allowed_cidrs = forms.CharField(
        label="Allowed networks",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "placeholder": "203.0.113.0/24\n2001:db8::/32"}),
        help_text="One a line; leave empty to allow every address.",
    )
    pinned_api_version = forms.ChoiceField(
        label="Pinned API version",
        required=False,
        choices=lambda: [("", "None: the platform's default"), *((name, name) for name in api_versions.known())],
        widget=UnfoldAdminSelectWidget,
        help_text="Answers the key's calls that select no API version themselves.",
    )

    class Meta:
        model = ApiKey
        fields = [
            "tenant", "name", "mode", "scopes", "allowed_models", "allowed_cidrs", "pinned_api_version",
            "trusted_documents_only", "expires_at",
        ]  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "allowed_models" in self.fields:
            # A name that is no longer on sale stays a choice for the keys that have it, so that saving keeps it.
            names = sorted({*self.model_names, *(self.instance.allowed_models or [])})
            field = self.fields["allowed_models"]
            assert isinstance(field, forms.MultipleChoiceField)  # noqa: S101 - declared above
            field.choices = [(name, name) for name in names]
        if self.instance.pk:
            self.initial["allowed_cidrs"] = "\n".join(self.instance.allowed_cidrs)

    def clean_allowed_cidrs(self) -> list[str]:
        lines = [line.strip() for line in self.cleaned_data["allowed_cidrs"].splitlines() if line.strip()]
        return _checked(lambda: api_keys.validate_cidrs(lines))

    def clean_expires_at(self) -> dt.datetime | None:
        expires_at: dt.datetime | None = self.cleaned_data["expires_at"]
        if "expires_at" not in self.changed_data:
            return expires_at
        return _checked(lambda: api_keys.validate_expiry(expires_at))


class RotationForm(forms.Form):
    """How long the present secrets go on working beside the new one."""

    overlap = forms.ChoiceField(
        label="The present secret works for another",
        choices=list(_OVERLAPS.items()),
        initial="24",
        widget=UnfoldAdminSelectWidget,
        help_text="Long enough for every program to change; choose “Stop at once” if the secret may be known to others.",
    )

    def clean_overlap(self) -> dt.timedelta:
        return dt.timedelta(hours=int(self.cleaned_data["overlap"]))


def _checked(check: Callable[[], T]) -> T:
    try:
        return check()
    except PlatformError as error:
        raise ValidationError(error.detail) from error
