"""A model is chosen, never typed: meters, prices and limits know models as strings, and a wrong one would bind nothing."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from django import forms

if TYPE_CHECKING:
    from django.forms import Select as UnfoldAdminSelectWidget
else:
    from unfold.widgets import UnfoldAdminSelectWidget

_SEPARATOR: Final = "/"
ON_SALE: Final = "On sale"

Choices = list[tuple[str, Any]]


def choices(names: Iterable[str], *, none: str, kept: str = "") -> Choices:
    """The models on sale, then those of each tenant. ``none`` says what no model means; ``kept`` stays a choice, so that saving a
    row whose model was removed keeps it."""
    groups: dict[str, list[tuple[str, str]]] = {}
    known = set(names)
    for name in sorted(known):
        tenant, _, _ = name.rpartition(_SEPARATOR)
        groups.setdefault(tenant, []).append((name, name))
    found: Choices = [("", none)]
    if kept and kept not in known:
        found.append((kept, f"{kept} (no such model)"))
    found += [(tenant or ON_SALE, group) for tenant, group in sorted(groups.items())]
    return found


def of_tenant(names: Iterable[str], slug: str) -> list[str]:
    """Those that the tenant can call: models on sale, and its own."""
    return [name for name in names if _SEPARATOR not in name or name.startswith(f"{slug}{_SEPARATOR}")]


class ModelChoiceForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for type checkers alone
    """A form with the field ``model``. ``model_names`` is set by the admin: this floor knows no models."""

    model_names: Sequence[str] = ()
    no_model = ""
    about_model = ""

    model = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "model" in self.fields:
            field = self.fields["model"]
            assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
            field.choices = choices(self.model_names, none=self.no_model, kept=self.instance.model)
            field.help_text = self.about_model
