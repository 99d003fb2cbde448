"""Calls that are answered whole or not at all: what is checked before anything is admitted, and in which order."""

from typing import Any

import pytest

from inference.calls import all_or_nothing
from inference.calls.all_or_nothing import WholeAnswer
from inference.types import CallContext, PredictRequest
from mlplatform.lib.errors import ErrorKind, PlatformError
from mlplatform.lib.ids import hex_id
from tenants import api_keys, authentication
from tests.conftest import Customer
from tests.support import ledger
from tests.support.tiny_model import TinyWorker, make_version

pytestmark = pytest.mark.usefixtures("prices")


@pytest.fixture(autouse=True)
def tiny(tiny_worker: TinyWorker) -> TinyWorker:
    tiny_worker.serve(make_version())
    return tiny_worker


def ask(customer: Customer, *texts: Any, model: str = "tiny", scopes: list[str] | None = None) -> WholeAnswer:
    secret = customer.secret
    if scopes is not None:
        secret = api_keys.issue(tenant=customer.tenant, name="Other", scopes=scopes).secret
    caller = authentication.authenticate(secret, address="127.0.0.1")
    context = CallContext(request_id=hex_id(), operation=all_or_nothing.operation(len(texts)).value, api_version="oip")
    all_or_nothing.resolve(caller, model, request_id=context.request_id)
    requests = [PredictRequest(model=model, input=text, field=f"row[{index}]") for index, text in enumerate(texts)]
    return all_or_nothing.predict_whole(caller, requests, context)


def refusal(customer: Customer, *texts: Any, **more: Any) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        ask(customer, *texts, **more)
    return caught.value


def test_every_row_is_answered_in_order(acme: Customer, tiny: TinyWorker) -> None:
    answer = ask(acme, "a", "bbb", "a")
    yes = [{one.label: one.score for one in result.predictions or ()}["yes"] for result in answer.results]
    assert yes == [pytest.approx(1 / 128, abs=1e-5), pytest.approx(3 / 128, abs=1e-5), pytest.approx(1 / 128, abs=1e-5)]
    assert answer.units == ledger.units(acme.tenant)
    assert answer.cache_headers() == {}
    again = ask(acme, "a")
    assert again.cached
    assert again.cache_headers()["X-Cache"] == "HIT"


@pytest.mark.parametrize("bad", ["", "x" * 101, 5, None, "\x00", "\ud800"])
@pytest.mark.parametrize("place", [0, 2])
def test_one_bad_row_costs_nothing(acme: Customer, tiny: TinyWorker, bad: Any, place: int) -> None:
    texts: list[Any] = ["one", "two", "three"]
    texts[place] = bad
    problem = refusal(acme, *texts)
    assert (problem.kind, problem.field) == (ErrorKind.INVALID_INPUT, f"row[{place}]")
    assert tiny.batches == []
    ledger.assert_untouched(acme)


def test_a_key_without_a_scope_learns_nothing_of_models(acme: Customer) -> None:
    for model in ("tiny", "no-such"):
        problem = refusal(acme, "a", model=model, scopes=["usage:read"])
        assert problem.kind is ErrorKind.FORBIDDEN
    assert refusal(acme, "a", "b", scopes=["predict"]).extra == {"required_scope": "batch"}
    assert refusal(acme, "a", scopes=["batch"]).extra == {"required_scope": "predict"}
    ledger.assert_untouched(acme)


def test_the_tenants_default_model_answers(acme: Customer) -> None:
    assert refusal(acme, "a", model="").field == "model"
    acme.tenant.default_model = "tiny"
    acme.tenant.save()
    authentication.forget_all()
    assert ask(acme, "a", model="").results[0].model == "tiny"
