"""Plans of callers: looked up once a second, and never used when something that they were made of has changed."""

import datetime as dt

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from billing import pricing
from billing.models import LimitKind, LimitRule, Price
from inference.engine import plans
from inference.engine.plans import CallerPlan
from inference.registry import versions
from mlplatform.lib import clock
from tenants import api_keys, tenancy
from tests.conftest import Customer
from tests.inference.engine.test_predict import LARGE
from tests.support import ledger
from tests.support.rest import Api, warm_up
from tests.support.tiny_model import TinyRuntime, TinyWorker, make_version
from tests.support.walked_clock import published_at_once
from tests.support.windows import AGES_S

__all__ = ["published_at_once"]

pytestmark = pytest.mark.usefixtures("prices")


@pytest.fixture
def large(tiny_worker: TinyWorker) -> TinyRuntime:
    return tiny_worker.serve(make_version("large"))


def known(customer: Customer) -> None:
    """This process has answered a call of the customer."""
    warm_up({"HTTP_AUTHORIZATION": f"Bearer {customer.secret}"})


def plan_of(customer: Customer) -> CallerPlan | None:
    return plans.plan_of(authorization=f"Bearer {customer.secret}", api_key="")


def needed(customer: Customer) -> CallerPlan:
    plan = plan_of(customer)
    assert plan is not None
    return plan


def walk(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Both clocks go on from ``seconds`` later."""
    monotonic, now = clock.monotonic, clock.now
    monkeypatch.setattr(clock, "monotonic", lambda: monotonic() + seconds)
    monkeypatch.setattr(clock, "now", lambda: now() + dt.timedelta(seconds=seconds))


def test_a_caller_that_is_not_known_yet_has_none(acme: Customer, large: TinyRuntime) -> None:
    assert plan_of(acme) is None
    assert plans.plan_of(authorization="Bearer nonsense", api_key="") is None
    assert plans.plan_of(authorization="", api_key="") is None


def test_it_is_kept_for_a_second(acme: Customer, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    known(acme)
    made = needed(acme)
    assert needed(acme) is made
    assert made.is_current(made.until - 0.001)
    walk(monkeypatch, 1.1)
    assert needed(acme) is not made


def test_one_for_each_way_to_send_a_key(acme: Customer, globex: Customer, large: TinyRuntime) -> None:
    known(acme)
    known(globex)
    by_header = plans.plan_of(authorization="", api_key=acme.secret)
    assert by_header is not None
    assert by_header.caller.tenant_id == needed(acme).caller.tenant_id == acme.tenant.pk
    assert needed(globex).caller.tenant_id == globex.tenant.pk


def test_models_that_need_a_thread_have_none(acme: Customer, tiny_worker: TinyWorker) -> None:
    for name in ("small", "dear", "image"):
        schema = {"kind": "image", "max_pixels": 1000} if name == "image" else {"kind": "text", "max_chars": 100}
        make_version(name, input_schema=schema)
    Price.objects.create(operation="predict", model="dear", per_call=5, per_input=1, cached_per_input=0)
    pricing.forget()
    known(acme)
    plan = needed(acme)
    assert plan.model("small", operation="predict") is not None
    for name in ("dear", "image", "none-such", "small@9.9.9", ""):
        assert plan.model(name, operation="predict") is None, name


def test_a_key_for_other_models_has_none_of_this_one(acme: Customer, large: TinyRuntime) -> None:
    acme.key.allowed_models = ["small"]
    acme.key.save()
    api_keys.changed(key=acme.key)
    known(acme)
    assert needed(acme).model("large", operation="predict") is None


def test_a_revoked_key_is_refused_at_its_next_call(
    acme: Customer, large: TinyRuntime, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    api = Api(acme)
    assert api.post("/v2/predict", {"model": "large", "input": "one"}).status == 200
    assert plan_of(acme) is not None
    with django_capture_on_commit_callbacks(execute=True):
        api_keys.revoke(key=acme.key)
    assert api.post("/v2/predict", {"model": "large", "input": "two"}).status == 401
    assert large.computed == ["one"]
    assert [record.units for record in ledger.records(acme.tenant)] == [LARGE]
    assert ledger.holds(acme.tenant) == 0


@pytest.mark.usefixtures("published_at_once")
def test_a_price_that_changes_is_that_of_the_next_call(acme: Customer, large: TinyRuntime) -> None:
    api = Api(acme)
    api.post("/v2/predict", {"model": "large", "input": "one"})
    before = needed(acme)
    Price.objects.filter(model="large").update(per_input=7)
    pricing.changed()
    assert not before.is_current(clock.monotonic())
    answer = api.post("/v2/predict", {"model": "large", "input": "two"})
    assert answer.body["usage"]["units"] == 7
    assert [record.units for record in ledger.records(acme.tenant)] == [LARGE, 7]


@pytest.mark.usefixtures("published_at_once")
def test_a_version_that_was_promoted_answers_the_next_call(acme: Customer, tiny_worker: TinyWorker) -> None:
    tiny_worker.serve(make_version("large"))
    ready = make_version("large", "2.0.0", state="ready")
    tiny_worker.serve(ready)
    api = Api(acme)
    body = {"model": "large", "input": "one"}
    assert api.post("/v2/predict", body).body["model_version"] == "1.0.0"
    before = needed(acme)
    versions.promote(version=ready)
    assert not before.is_current(clock.monotonic())
    again = api.post("/v2/predict", body)
    assert (again.body["model_version"], again.headers["X-Cache"]) == ("2.0.0", "MISS")


def test_a_limit_that_is_new_counts_at_the_next_call(
    acme: Customer, large: TinyRuntime, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    api = Api(acme)
    assert api.post("/v2/predict", {"model": "large", "input": "one"}).status == 200
    LimitRule.objects.create(plan=acme.plan, name="new", kind=LimitKind.FIXED_WINDOW, amount=5, window_s=AGES_S)
    with django_capture_on_commit_callbacks(execute=True):
        tenancy.changed(tenant=acme.tenant)
    assert api.post("/v2/predict", {"model": "large", "input": "two"}).body["violated-policies"] == ["new"]
    assert [record.units for record in ledger.records(acme.tenant)] == [LARGE]


def test_it_ends_with_its_key(acme: Customer, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    acme.key.expires_at = clock.now() + dt.timedelta(seconds=0.9)
    acme.key.save()
    api_keys.changed(key=acme.key)
    known(acme)
    plan = needed(acme)
    assert plan.until <= clock.monotonic() + 0.9
    walk(monkeypatch, 1.0)
    assert plan_of(acme) is None
    assert Api(acme).post("/v2/predict", {"model": "large", "input": "two"}).status == 401
    assert large.computed == []
    assert ledger.records(acme.tenant) == []
