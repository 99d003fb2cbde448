"""Forms of limits: the numbers of their kind, a model that is chosen, and the rule in a sentence."""

import json
import re

import pytest
from django.test import Client

from billing.models import LimitRule
from inference.models import MLModel
from tests.conftest import Customer
from tests.support import staff

LIMITS, SENTENCE = "/admin/billing/limitrule/", "/admin/billing/limitrule/sentence/"
BUCKET = {"kind": "token_bucket", "counts": "units", "scope": "tenant", "model": "", "amount": "40", "rate": "1"}


@pytest.fixture
def admin(db: None) -> Client:
    MLModel.objects.create(name="sentiment")
    return staff.signed_in(staff.superuser())


@pytest.mark.parametrize(
    ("entered", "text"),
    [
        ({}, "40 units, refilled 1 a second, for the tenant as a whole"),
        ({"kind": "monthly", "scope": "key"}, "40 units a calendar month, for each key by itself"),
        ({"kind": "fixed_window", "window_s": "3600"}, "40 units in each 3,600 s, for the tenant as a whole"),
        ({"kind": "concurrency"}, "40 requests at a time, for the tenant as a whole"),
        (
            {"counts": "requests", "scope": "model", "model": "sentiment"},
            "40 requests, refilled 1 a second, on calls of sentiment",
        ),
    ],
)
def test_the_numbers_are_said_in_a_sentence(admin: Client, entered: dict[str, str], text: str) -> None:
    assert admin.get(SENTENCE, BUCKET | entered).json() == {"text": text, "good": True}
    assert not LimitRule.objects.exists(), "asking saves nothing"


@pytest.mark.parametrize(
    ("entered", "reason"),
    [
        ({"rate": ""}, "Refill a second: A token bucket needs a refill rate above 0"),
        ({"kind": "sliding_window"}, "Window (s): A window is 1 to"),
        ({"scope": "model"}, "Model: Name the model"),
        ({"scope": "model", "model": "sentimant"}, "Model: Select a valid choice"),
        ({"amount": "many"}, "Amount: Enter a whole number."),
        ({"kind": "leaky"}, "Kind: Select a valid choice"),
    ],
)
def test_what_is_missing_is_said_in_its_place(admin: Client, entered: dict[str, str], reason: str) -> None:
    said = admin.get(SENTENCE, BUCKET | entered).json()
    assert said["text"].startswith(reason), said
    assert said["good"] is False


def test_only_those_who_see_limits_may_ask(admin: Client) -> None:
    assert staff.signed_in(staff.with_role("")).get(SENTENCE, BUCKET).status_code == 403


def test_a_limit_is_of_a_model_that_exists(admin: Client, acme: Customer) -> None:
    form = BUCKET | {"name": "slow", "scope": "model", "plan": "", "tenant": str(acme.tenant.pk), "key": ""}
    answer = admin.post(f"{LIMITS}add/", form | {"model": "sentimant"})
    assert "not one of the available choices" in answer.content.decode()
    assert not LimitRule.objects.filter(name="slow").exists()
    assert admin.post(f"{LIMITS}add/", form | {"model": "sentiment"}).status_code == 302
    assert LimitRule.objects.get(name="slow").model == "sentiment"


def test_what_the_kind_does_not_have_is_not_kept(admin: Client, acme: Customer) -> None:
    form = BUCKET | {"name": "busy", "plan": "", "tenant": str(acme.tenant.pk), "key": ""}
    hidden = {"kind": "concurrency", "window_s": "60", "model": "sentiment"}
    assert admin.post(f"{LIMITS}add/", form | hidden).status_code == 302
    rule = LimitRule.objects.get(name="busy")
    assert (rule.counts, rule.rate, rule.window_s, rule.model) == ("requests", 0.0, 0, "")


def test_the_page_tells_its_script_which_fields_each_kind_has(admin: Client, acme: Customer) -> None:
    page = admin.get(f"{LIMITS}add/").content.decode()
    (shows,) = re.findall(r'<select name="kind"[^>]*data-shows="([^"]*)"', page)
    kinds = json.loads(shows.replace("&quot;", '"'))
    assert kinds["token_bucket"] == ["counts", "rate"]
    assert kinds["concurrency"] == []
    assert "platform/limit_form.js" in page


def test_a_tenant_is_offered_models_on_sale_and_its_own(admin: Client, acme: Customer, globex: Customer) -> None:
    for owner in (acme.tenant, globex.tenant):
        MLModel.objects.create(name="private", owner=owner)
    pages = {
        "tenant": f"/admin/tenants/tenant/{acme.tenant.pk}/edit/",
        "key": f"/admin/tenants/apikey/{acme.key.pk}/change/",
    }
    for page in pages.values():
        (offered,) = re.findall(
            r'<select name="limits-__prefix__-model".*?</select>', admin.get(page).content.decode(), re.DOTALL
        )
        assert "sentiment" in offered
        assert "acme/private" in offered
        assert "globex/private" not in offered
    plan = admin.get(f"/admin/billing/plan/{acme.plan.pk}/change/").content.decode()
    assert "globex/private" in plan
