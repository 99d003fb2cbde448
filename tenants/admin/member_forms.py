"""Members in a table: who is one already stays who it is, so no row asks the database for what could be chosen instead."""

from typing import TYPE_CHECKING, Any

from django import forms

from tenants.admin.kit import ModelForm
from tenants.models import Membership

if TYPE_CHECKING:
    from django.forms import Select as UnfoldAdminSelectWidget
else:
    from unfold.widgets import UnfoldAdminSelectWidget


class _SettledForm(ModelForm[Membership]):
    """A new row chooses by an autocomplete field; of a row that exists only the role is changed."""

    settled = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields.get(self.settled)
        if self.instance.pk is None or field is None:
            return
        chosen = getattr(self.instance, self.settled)
        choice = forms.TypedChoiceField(
            label=field.label,
            choices=[(chosen.pk, str(chosen))],
            coerce=lambda _: chosen,
            disabled=True,
            widget=UnfoldAdminSelectWidget,
        )
        self.fields[self.settled] = choice


class MemberForm(_SettledForm):
    """On the page of a tenant."""

    settled = "user"


class MembershipForm(_SettledForm):
    """On the page of a person."""

    settled = "tenant"
