"""The page "New customer": name, owner, plan and first key on one form, and the secret on the next page."""

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.validators import validate_slug
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from kombu.exceptions import OperationalError

from billing import onboarding
from billing.models import Plan
from billing.onboarding import NewCustomer
from mlplatform.lib.errors import PlatformError
from tenants.admin.secret_page import hand_over
from tenants.admin.tenants import TenantAdmin
from tenants.models import User

if TYPE_CHECKING:
    from django.forms import EmailInput as UnfoldAdminEmailInputWidget
    from django.forms import Select as UnfoldAdminSelectWidget
    from django.forms import TextInput as UnfoldAdminTextInputWidget
else:
    from unfold.widgets import UnfoldAdminEmailInputWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget


class NewCustomerForm(forms.Form):
    """The fields that this person may decide on."""

    name = forms.CharField(
        max_length=200,
        label="Name",
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True, "autocomplete": "off"}),
    )
    owner_email = forms.EmailField(
        label="Owner's e-mail address",
        required=False,
        widget=UnfoldAdminEmailInputWidget(attrs={"autocomplete": "off"}),
        help_text="A new person is mailed a link to set a password. Leave empty for a customer without members.",
    )
    plan = forms.ModelChoiceField(
        queryset=Plan.objects.filter(archived=False),
        required=False,
        empty_label="None: calls that cost are refused",
        widget=UnfoldAdminSelectWidget,
    )
    key_name = forms.CharField(
        max_length=100,
        label="Name of the first key",
        required=False,
        initial="Production",
        widget=UnfoldAdminTextInputWidget,
        help_text="Its secret is shown once, on the next page. Leave empty for no key yet.",
    )
    slug = forms.CharField(
        max_length=63,
        label="Short name",
        required=False,
        validators=[validate_slug],
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "from the name"}),
        help_text="In addresses and reports; it never changes.",
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field, permissions in _NEEDS.items():
            if not user.has_perms(permissions):
                del self.fields[field]
        if "plan" in self.fields:
            self.fields["plan"].initial = Plan.objects.filter(archived=False).first()


_NEEDS: Final = {
    "owner_email": ["tenants.add_user", "tenants.add_membership"],
    "plan": ["billing.add_subscription"],
    "key_name": ["tenants.add_apikey"],
}
_FIELDS: Final = {"email": "owner_email"}
"""Arguments of services that have another name on the form."""


class NewCustomerPage(TenantAdmin):
    """The view, in place of Django's form of a new row; everything else about a tenant is edited afterwards."""

    @property
    def add_words(self) -> str:
        return "New customer"

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        user = request.user
        if not (isinstance(user, User) and self.has_add_permission(request)):
            raise PermissionDenied
        form = NewCustomerForm(request.POST if request.method == "POST" else None, user=user)
        if request.method == "POST" and form.is_valid():
            made = self._made(request, form, user)
            if made is not None:
                return made
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "model_admin": self,
            "title": self.add_words,
            "form": form,
            "fields": list(form),
            "left_out": [field for field in _NEEDS if field not in form.fields],
            "back": reverse("admin:tenants_tenant_changelist"),
            "media": self.media,
        }
        return TemplateResponse(request, "admin/tenants/tenant/new_customer.html", context)

    def _made(self, request: HttpRequest, form: NewCustomerForm, user: User) -> HttpResponse | None:
        """The way to the secret, or to the tenant's page without a key; None when the form has a mistake after all."""
        answer = None
        try:
            with transaction.atomic():
                customer = onboarding.create_customer(created_by=user, **form.cleaned_data)
                answer = _answer(customer)
        except PlatformError as error:
            field = _FIELDS.get(error.field or "", error.field or "")
            form.add_error(field if field in form.fields else None, error.detail)
            return None
        except OperationalError:
            # The task is sent after the commit, so the customer is there; only the worker was not told.
            messages.warning(request, "The link for the owner could not be mailed: send it from the owner's page.")
            return answer
        messages.success(request, _said(customer))
        return answer


def _answer(customer: NewCustomer) -> HttpResponse:
    if customer.issued is not None:
        return hand_over(customer.issued)
    page = reverse("admin:tenants_tenant_change", args=[customer.tenant.pk])
    return HttpResponse(status=303, headers={"Location": page})


def _said(customer: NewCustomer) -> str:
    name = customer.tenant.name
    if customer.owner is None:
        return f"{name} is a customer."
    mailed = "is mailed a link to set a password" if customer.invited else "had an account already"
    return f"{name} is a customer; {customer.owner.email} is its owner and {mailed}."
