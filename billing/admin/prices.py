"""Prices in units, and what a sample call would cost on each plan."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from billing import pricing
from billing.admin import model_choice, price_effects
from billing.admin.model_choice import ModelChoiceForm
from billing.models import Operation, Plan, Price
from tenants.admin.kit import StaffAdmin, display

if TYPE_CHECKING:
    from django.forms import NumberInput as UnfoldAdminIntegerFieldWidget
    from django.forms import Select as UnfoldAdminSelectWidget
else:
    from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

_PREFIX = "sample"


class PriceForm(ModelChoiceForm):
    """A price of a model that is chosen, or of all others."""

    no_model = "Any other model"
    about_model = "Models without a price of their own cost what “Any other model” costs."

    class Meta:
        model = Price
        fields = ("operation", "model", "per_call", "per_input", "cached_per_input")


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
        names.choices = model_choice.choices(model_names, none=PriceForm.no_model)

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

    form = PriceForm
    list_display = ["title", "operation", "per_call", "per_input", "cached_per_input"]
    list_filter = ["operation"]
    search_fields = ["model"]
    search_help_text = "Name of the model"
    list_before_template = "admin/billing/price/sample_call.html"
    fieldsets = [
        (None, {"fields": ["operation", "model"]}),
        ("Units", {"fields": ["per_call", "per_input", "cached_per_input"]}),
    ]

    class Media:
        js = ("platform/price_quote.js",)

    def get_urls(self) -> list[URLPattern]:
        own = [path("effect/", self.admin_site.admin_view(self.effect_view), name="billing_price_effect")]
        return [*own, *super().get_urls()]

    def get_form(self, request: HttpRequest, obj: Price | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.model_names = self.model_names()  # type: ignore[attr-defined]  # PriceForm's
        return form

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """With the effect of what is saved beside the form; the script asks anew while it is changed."""
        price = kwargs.get("obj")
        if price is not None:
            saved = Price.objects.get(pk=price.pk)  # ``price`` may have what was entered and refused
            context = {**context, "effect": self._effect(price, saved), "days": price_effects.DAYS}
        return super().render_change_form(request, context, *args, **kwargs)

    def effect_view(self, request: HttpRequest) -> HttpResponse:
        """What the price of the query would change, as a part of the page; nothing is saved."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        chosen = request.GET.get("price", "")
        old = Price.objects.filter(pk=chosen).first() if chosen.isascii() and chosen.isdecimal() else None
        form_class = self.get_form(request, old, change=old is not None)
        form = form_class(request.GET, instance=copy(old))
        context: dict[str, Any] = {"days": price_effects.DAYS, "errors": []}
        if form.is_valid():
            context["effect"] = self._effect(form.instance, old)
        else:
            context["errors"] = [
                f"{form[name].label}: {error}" if name in form.fields else error
                for name, errors in form.errors.items()
                for error in errors
            ]
        return TemplateResponse(request, "admin/billing/price/effect.html", context)

    @staticmethod
    def _effect(price: Price, replaces: Price | None) -> price_effects.Effect:
        after = pricing.Tariff(price.per_call, price.per_input, price.cached_per_input)
        return price_effects.of(operation=price.operation, model=price.model, after=after, replaces=replaces)

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
