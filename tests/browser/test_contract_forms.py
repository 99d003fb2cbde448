"""Forms of limits and prices in real Chromium: fields of the kind, the rule in a sentence, the effect of a price."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from billing.models import LimitRule, Price
from tests.browser.test_admin_pages import Watched, addresses, pytestmark, tab
from tests.conftest import Customer

__all__ = ["addresses", "pytestmark", "tab"]


@pytest.fixture
def rule(acme: Customer) -> LimitRule:
    """Made before the browser starts, as every row must be."""
    return LimitRule.objects.create(plan=acme.plan, name="slow", kind="token_bucket", amount=40, rate=1.0)


@pytest.fixture
def price(acme: Customer) -> Price:
    return Price.objects.create(operation="predict", model="digits", per_input=10, cached_per_input=1)


def shown(page: Page, prefix: str = "") -> set[str]:
    """The fields of the limit's rule that can be seen."""
    names = ("counts", "amount", "rate", "window_s", "model")
    return {name for name in names if page.is_visible(f"[name={prefix}{name}]")}


def test_a_limit_shows_the_fields_of_its_kind_and_says_itself(
    rule: LimitRule, tab: Watched, live_server: LiveServer
) -> None:
    page = tab.page
    page.goto(live_server.url + reverse("admin:billing_limitrule_change", args=[rule.pk]))
    assert shown(page) == {"counts", "amount", "rate"}
    page.select_option("[name=kind]", "fixed_window")
    assert shown(page) == {"counts", "amount", "window_s"}
    page.fill("[name=window_s]", "60")
    page.wait_for_selector("text=40 units in each 60 s, for the tenant as a whole")
    page.select_option("[name=kind]", "concurrency")
    assert shown(page) == {"amount"}
    page.select_option("[name=scope]", "model")
    assert shown(page) == {"amount", "model"}
    page.wait_for_selector("text=Model: Name the model")
    page.select_option("[name=model]", "digits")
    page.wait_for_selector("text=40 requests at a time, on calls of digits")
    page.reload()
    assert page.input_value("[name=kind]") == "token_bucket", "asking saved nothing"
    assert tab.problems == []


def test_limits_of_a_plan_say_themselves_line_by_line(tab: Watched, acme: Customer, live_server: LiveServer) -> None:
    page = tab.page
    page.goto(live_server.url + reverse("admin:billing_plan_change", args=[acme.plan.pk]))
    page.select_option("[name=limits-0-kind]", "monthly")
    assert shown(page, "limits-0-") == {"counts", "amount"}
    page.wait_for_selector("text=1,000 units a calendar month, for the tenant as a whole")
    page.click("text=Add another Limit")
    page.select_option("[name=limits-1-kind]", "sliding_window")
    page.fill("[name=limits-1-amount]", "7")
    page.fill("[name=limits-1-window_s]", "10")
    page.wait_for_selector("text=7 units in any 10 s, for the tenant as a whole")
    assert shown(page, "limits-1-") == {"counts", "amount", "window_s"}
    assert tab.cut_off <= 0
    assert tab.problems == []


def test_the_effect_of_a_price_stands_beside_its_form(price: Price, tab: Watched, live_server: LiveServer) -> None:
    page = tab.page
    page.goto(live_server.url + reverse("admin:billing_price_change", args=[price.pk]))
    assert "A call of 1 input" in page.inner_text("#price-effect")
    page.fill("[name=per_input]", "25")
    page.wait_for_selector("#price-effect >> text=+150 %")
    page.fill("[name=per_input]", "-3")
    page.wait_for_selector("#price-effect >> text=Per input:")
    assert page.is_visible("[name=cached_per_input]")
    page.reload()
    assert page.input_value("[name=per_input]") == "10", "asking saved nothing"
    assert tab.cut_off <= 0
    assert tab.problems == []
