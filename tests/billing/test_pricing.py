"""What a call costs: the model's own price, else that of any model, else one unit."""

import pytest
from django.db import IntegrityError, transaction
from pytest_django import DjangoAssertNumQueries

from billing import pricing
from billing.models import Price
from billing.pricing import Tariff

pytestmark = pytest.mark.usefixtures("prices")


def test_the_closest_price_counts() -> None:
    assert pricing.tariff(operation="predict", model="large") == Tariff(0, 10, 1)
    assert pricing.tariff(operation="predict", model="small") == Tariff(0, 1, 0)
    assert pricing.tariff(operation="batch", model="large") == Tariff(50, 1, 0)
    assert pricing.tariff(operation="train", model="large") == pricing.FALLBACK
    assert pricing.FALLBACK.cached_per_input == pricing.FALLBACK.per_input == 1


def test_the_fee_of_a_call_is_the_highest_among_its_models() -> None:
    Price.objects.create(operation="batch", model="large", per_call=80)
    pricing.forget()
    assert pricing.call_fee(operation="batch", models={"small", "large"}) == 80
    assert pricing.call_fee(operation="batch", models={"small"}) == 50
    assert pricing.call_fee(operation="predict", models={"small"}) == 0
    assert pricing.call_fee(operation="batch", models=set()) == 0


def test_a_quote_is_the_sum_of_its_parts() -> None:
    quote = pricing.quote(operation="batch", model="small", inputs=10, cached_inputs=4)
    assert (quote.call_fee, quote.computed, quote.cached, quote.total) == (50, 6, 0, 56)
    assert pricing.quote(operation="predict", model="large", inputs=3, cached_inputs=1).total == 21


@pytest.mark.django_db(transaction=True)
def test_prices_are_in_memory_until_they_change(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    assert pricing.tariff(operation="predict", model="small").per_input == 1
    Price.objects.filter(operation="predict", model="").update(per_input=3)
    with django_assert_num_queries(0):
        assert pricing.tariff(operation="predict", model="small").per_input == 1
    pricing.changed()
    assert pricing.tariff(operation="predict", model="small").per_input == 3


def test_there_is_one_price_an_operation_and_model() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Price.objects.create(operation="predict", model="large")
