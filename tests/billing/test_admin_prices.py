from decimal import Decimal

import pytest
from django.test import Client

from billing import pricing
from billing.admin.prices import money
from billing.models import Plan, Price
from inference.models import MLModel
from tests.conftest import Customer
from tests.support import staff

LIST = "/admin/billing/price/"


@pytest.fixture
def admin(prices: None) -> Client:
    return staff.signed_in(staff.superuser())


def sample(admin: Client, **call: object) -> str:
    return admin.get(LIST, {f"sample-{name}": str(value) for name, value in call.items()}).content.decode()


def test_a_sample_call_is_priced_part_by_part_and_on_each_plan(admin: Client) -> None:
    Plan.objects.create(name="Hard", included_units=1000)
    Plan.objects.create(name="Soft", included_units=10_000, overage_price=Decimal("0.0001"), currency="EUR")
    Plan.objects.create(name="Old", included_units=10, archived=True)
    page = " ".join(sample(admin, operation="predict", model="large", inputs=10, cached=4).split())
    assert "<strong>64</strong> units" in page  # 6 computed at 10, 4 cached at 1
    assert '6 computed inputs</td><td class="p-right p-number">60<' in page
    assert '4 cached inputs</td><td class="p-right p-number">4<' in page
    assert '<td>Hard</td><td>15 calls</td><td class="p-right p-number">refused</td>' in page
    assert '<td>Soft</td><td>156 calls</td><td class="p-right p-number">0.0064 EUR</td>' in page
    assert "<td>Old</td>" not in page


def test_every_model_on_sale_can_be_tried(admin: Client) -> None:
    MLModel.objects.create(name="digits")
    assert "<strong>52</strong> units" in " ".join(
        sample(admin, operation="batch", model="digits", inputs=2, cached=0).split()
    )


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({"inputs": 1, "cached": 2}, "No more inputs can be cached"),
        ({"inputs": 0, "cached": 0}, "greater than or equal to 1"),
        ({"inputs": "x"}, "Enter a whole number"),
        ({"operation": "train", "inputs": 1}, "not one of the available choices"),
    ],
)
def test_a_sample_call_that_cannot_be_is_refused_by_name(admin: Client, call: dict[str, object], reason: str) -> None:
    page = sample(admin, **({"operation": "predict", "model": "", "cached": 0} | call))
    assert reason in page
    assert "p-quote-total" not in page


def test_the_list_keeps_its_own_filters_beside_the_sample(admin: Client) -> None:
    answer = admin.get(LIST, {"sample-operation": "predict", "sample-inputs": "1", "operation__exact": "batch"})
    assert [price.operation for price in answer.context["cl"].result_list] == ["batch"]


@pytest.mark.django_db(transaction=True)
def test_a_saved_price_holds_for_the_next_call(admin: Client) -> None:
    MLModel.objects.create(name="small")
    assert pricing.quote(operation="predict", model="small", inputs=1).total == 1
    form = {"operation": "predict", "model": "small", "per_call": "3", "per_input": "4", "cached_per_input": "0"}
    assert admin.post(f"{LIST}add/", form).status_code == 302
    assert pricing.quote(operation="predict", model="small", inputs=1).total == 7
    admin.post(f"{LIST}{Price.objects.get(model='small').pk}/delete/", {"post": "yes"})
    assert pricing.quote(operation="predict", model="small", inputs=1).total == 1


def price_form(**more: str) -> dict[str, str]:
    return {"operation": "predict", "model": "", "per_call": "0", "per_input": "1", "cached_per_input": "0"} | more


def test_a_price_is_of_a_model_that_exists(admin: Client, acme: Customer) -> None:
    MLModel.objects.create(name="sentiment")
    MLModel.objects.create(name="sentiment", owner=acme.tenant)
    before = set(Price.objects.values_list("model", flat=True))
    answer = admin.post(f"{LIST}add/", price_form(model="sentimant"))
    assert "not one of the available choices" in answer.content.decode()
    assert set(Price.objects.values_list("model", flat=True)) == before
    for name in ("sentiment", "acme/sentiment"):
        assert admin.post(f"{LIST}add/", price_form(model=name)).status_code == 302
    assert set(Price.objects.values_list("model", flat=True)) - before == {"sentiment", "acme/sentiment"}


def test_a_price_of_a_model_that_was_removed_can_still_be_changed(admin: Client) -> None:
    price = Price.objects.create(operation="predict", model="gone", per_input=5)
    page = f"{LIST}{price.pk}/change/"
    assert "gone (no such model)" in admin.get(page).content.decode()
    assert admin.post(page, price_form(model="gone", per_input="7")).status_code == 302
    price.refresh_from_db()
    assert (price.model, price.per_input) == ("gone", 7)


@pytest.mark.parametrize(
    ("amount", "text"), [("0", "0.00"), ("1234.5", "1,234.50"), ("0.0156", "0.0156"), ("0.00000001", "0.00000001")]
)
def test_money_has_the_decimals_it_needs(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text
