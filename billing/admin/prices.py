"""Prices in units, and what a sample call would cost on each plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, QueryDict

from billing import pricing
from billing.models import Operation, Plan, Price
from tenants.admin.kit import StaffAdmin, display

if TYPE_CHECKING:
    from django.forms import NumberInput as UnfoldAdminIntegerFieldWidget
    from django.forms import Select as UnfoldAdminSelectWidget
else:
    from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

_PREFIX = "sample"


class SampleCallForm(forms.Form):
    """A made-up call, to see what it would cost."""

    operation = forms.ChoiceField(choices=Operation.choices, initial=Operation.PREDICT, widget=UnfoldAdminSelectWidget)
    model = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    inputs = forms.IntegerField(min_value=1, max_value=1_000_000, initial=1, widget=UnfoldAdminIntegerFieldWidget)
    cached = forms.IntegerField(
        label="of them cached", min_value=0, initial=0, required=False, widget=UnfoldAdminIntegerFieldWidget
    )

    def __init__(self, data: Mapping[str, Any] | None, *, model_names: list[str]) -> None:
        super().__init__(data, prefix=_PREFIX)
        names = self.fields["model"]
        assert isinstance(names, forms.ChoiceField)  # noqa: S101 - declared above
        names.choices = [("", "Any other model"), *((name, name) for name in model_names)]

    def clean(self) -> dict[str, Any] | None:
        cached = self.cleaned_data.get("cached") or 0
        if cached > self.cleaned_data.get("inputs", cached):
            raise ValidationError({"cached": "No more inputs can be cached than the call has."})
        return None


@dataclass(frozen=True, slots=True)
class OnPlan:
    """What the units of a sample call mean on one plan, once its included units are used."""

    plan: str
    included: str
    beyond: str


def on_plans(units: int) -> list[OnPlan]:
    """One line for each plan that is offered: how many such calls it includes, and the price of the next one."""
    lines = []
    for plan in Plan.objects.filter(archived=False):
        calls = "every call" if units == 0 else f"{plan.included_units // units:,} calls"
        price = plan.overage_price
        beyond = "refused" if price is None else f"{money(price * units)} {plan.currency}"
        lines.append(OnPlan(plan=plan.name, included=calls, beyond="free" if units == 0 else beyond))
    return lines


def money(amount: Decimal) -> str:
    """At least two decimals, and as many more as the amount needs, up to eight."""
    exact = f"{amount:,.8f}".rstrip("0")
    whole, _, decimals = exact.partition(".")
    return f"{whole}.{decimals:0<2}"


class PriceAdmin(StaffAdmin[Price]):
    """Registered by the roof, which knows the models on sale."""

    list_display = ["title", "operation", "per_call", "per_input", "cached_per_input"]
    list_filter = ["operation"]
    search_fields = ["model"]
    search_help_text = "Name of the model"
    list_before_template = "admin/billing/price/sample_call.html"
    fieldsets = [
        (None, {"fields": [("operation", "model")]}),
        ("Units", {"fields": [("per_call", "per_input", "cached_per_input")]}),
    ]

    def publish(self, obj: Price) -> None:
        pricing.changed()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        names = sorted({*Price.objects.exclude(model="").values_list("model", flat=True), *self.model_names()})
        asked = {name: value for name, value in request.GET.items() if name.startswith(f"{_PREFIX}-")}
        form = SampleCallForm(asked or None, model_names=names)
        context: dict[str, Any] = {"sample_form": form}
        if asked and form.is_valid():
            call = form.cleaned_data
            quote = pricing.quote(
                operation=call["operation"],
                model=call["model"],
                inputs=call["inputs"],
                cached_inputs=call["cached"] or 0,
            )
            computed = call["inputs"] - (call["cached"] or 0)
            context |= {"quote": quote, "call": call, "computed_inputs": computed, "plans": on_plans(quote.total)}
        request.GET = without(request.GET, _PREFIX)  # type: ignore[assignment]  # Django's list refuses what it does not know
        return super().changelist_view(request, {**(extra_context or {}), **context})

    def model_names(self) -> list[str]:
        """Models on sale, whether or not they have a price of their own; the roof knows them."""
        return []

    @display(description="Price", ordering="model")
    def title(self, price: Price) -> str:
        return str(price)


def without(query: QueryDict, prefix: str) -> QueryDict:
    """The query without the parameters whose names begin with ``prefix``."""
    rest = query.copy()
    for name in query:
        if name.startswith(prefix):
            del rest[name]
    return rest
