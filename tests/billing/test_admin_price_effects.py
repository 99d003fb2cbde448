"""Beside the form of a price: what calls cost before and after, and which tenants made such calls."""

import datetime as dt
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.models import Price, UsageRollup
from inference.models import MLModel
from mlplatform.lib import clock
from tests.conftest import Customer, make_customer
from tests.support import staff

EFFECT, PRICES = "/admin/billing/price/effect/", "/admin/billing/price/"


@pytest.fixture
def admin(db: None) -> Client:
    for name in ("digits", "minilm", "own"):
        MLModel.objects.create(name=name)
    return staff.signed_in(staff.superuser())


@pytest.fixture
def digits(admin: Client) -> Price:
    return Price.objects.create(operation="predict", model="digits", per_call=0, per_input=10, cached_per_input=1)


def use(customer: Customer, model: str = "digits", *, back: int = 0, inputs: int = 100, cached: int = 0) -> None:
    UsageRollup.objects.create(
        day=clock.now().date() - dt.timedelta(days=back), tenant=customer.tenant, key_uid=customer.key.uid, model=model,
        api_version="v2", operation="predict", calls=1, model_calls=1, inputs=inputs, cached_inputs=cached,
    )  # fmt: skip


def rows(admin: Client, **entered: object) -> dict[str, list[str]]:
    """The lines of the comparison: before, after, change."""
    fields = {
        "operation": "predict",
        "model": "digits",
        "per_call": 0,
        "per_input": 10,
        "cached_per_input": 1,
    } | entered
    page = admin.get(EFFECT, {name: str(value) for name, value in fields.items()}).content.decode()
    found = re.findall(r"<tr>\s*<td>(.*?)</td>(.*?)</tr>", page, flags=re.DOTALL)
    return {re.sub("<[^>]*>", "", title): re.findall(r"<td[^>]*>([^<]*)</td>", rest) for title, rest in found}


def test_calls_and_tenants_are_compared_before_and_after(
    admin: Client, digits: Price, acme: Customer, globex: Customer
) -> None:
    use(acme, inputs=100, cached=40)
    use(globex, inputs=1)
    use(globex, back=30, inputs=1_000_000)  # before the last 30 days
    use(globex, "minilm", inputs=1_000_000)
    assert rows(admin, price=digits.pk, per_call=5, per_input=20) == {
        "A call of 1 input": ["10", "25", "+150 %"],
        "A call of 100 inputs": ["1,000", "2,005", "+100 %"],
        "A call of 100 inputs, 40 of them cached": ["640", "1,245", "+95 %"],
        "Acme": ["640", "1,245", "+95 %"],
        "Globex": ["10", "25", "+150 %"],
        "All": ["650", "1,270", "+95 %"],
    }
    digits.refresh_from_db()
    assert digits.per_input == 10, "asking saves nothing"


def test_a_new_price_is_compared_with_the_one_that_held_until_then(admin: Client, acme: Customer) -> None:
    assert rows(admin, model="minilm", per_input=2)["A call of 1 input"] == ["1", "2", "+100 %"]


def test_the_price_of_any_other_model_concerns_models_without_one(admin: Client, digits: Price, acme: Customer) -> None:
    for model in ("digits", "minilm", "own"):
        use(acme, model, inputs=7)
    use(acme, "", inputs=0)
    assert rows(admin, model="", per_input=3)["Acme"] == ["14", "42", "+200 %"]


def test_the_five_tenants_that_it_concerns_most_are_named(admin: Client, digits: Price) -> None:
    for number in range(7):
        use(make_customer(f"shop-{number}"), inputs=number + 1)
    with CaptureQueriesContext(connection) as asked:
        found = rows(admin, price=digits.pk, per_input=0)
    assert [title for title in found if title.startswith("Shop")] == [f"Shop-{n}" for n in (6, 5, 4, 3, 2)]
    assert found["All"] == ["280", "0", "-100 %"]
    assert len(asked) <= 10


@pytest.mark.parametrize(
    ("entered", "reason"),
    [
        ({"per_input": "-1"}, "Per input: Ensure this value"),
        ({"per_call": "x"}, "Per call: Enter a whole number"),
        ({"model": "sentimant"}, "Model: Select a valid choice"),
        ({"price": ""}, "already exists"),
        ({"price": "9" * 30}, "already exists"),
    ],
)
def test_what_cannot_be_saved_is_told_with_its_field(
    admin: Client, digits: Price, entered: dict[str, str], reason: str
) -> None:
    fields = {"operation": "predict", "model": "digits", "per_call": "0", "per_input": "10", "cached_per_input": "1"}
    page = admin.get(EFFECT, fields | {"price": str(digits.pk)} | entered).content.decode()
    assert reason in page
    assert "A call of" not in page


def test_the_form_has_it_without_a_script(admin: Client, digits: Price, acme: Customer) -> None:
    use(acme)
    page = admin.get(f"{PRICES}{digits.pk}/change/").content.decode()
    assert "1 tenant affected" in page
    assert admin.get(f"{PRICES}add/").status_code == 200


def test_only_those_who_see_prices_may_ask(admin: Client, digits: Price) -> None:
    assert staff.signed_in(staff.with_role("")).get(EFFECT).status_code == 403
