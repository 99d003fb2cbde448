"""One call is one call, however many inputs and models it has: on records, in limits and in every report."""

import datetime as dt
from typing import Any, cast, get_args

import pytest

from billing import admission, contracts
from billing.admission import keys
from billing.metering import ledger as metering_ledger
from billing.metering import reports as usage_reports
from billing.metering import rows as usage_rows
from billing.metering import version_use
from billing.metering.reports import Grouping
from billing.models import LimitKind, LimitRule, LimitScope, Price, VersionUse
from inference.engine.predict import Answer, predict_each, predict_many
from inference.types import CallContext, PredictRequest
from mlplatform.lib import clock, redis
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import authenticate
from tests.conftest import Customer
from tests.support import ledger
from tests.support.rest import Api
from tests.support.tiny_model import POISON, TinyWorker, make_version
from tests.support.windows import AGES_S

FOUR = ("alpha", "beta", "gamma", "delta")


@pytest.fixture(autouse=True)
def four(tiny_worker: TinyWorker) -> TinyWorker:
    """Four models, of which ``alpha`` has an older version too; an input costs a unit."""
    Price.objects.create(operation="batch", per_call=0, per_input=1, cached_per_input=0)
    Price.objects.create(operation="predict", per_call=0, per_input=1, cached_per_input=0)
    for name in FOUR:
        tiny_worker.serve(make_version(name, "2.0.0"))
    tiny_worker.serve(make_version("alpha", "1.0.0", state="ready"))
    return tiny_worker


def batch(customer: Customer, *inputs: tuple[str, str], whole: bool = False) -> Answer:
    caller = authenticate(customer.secret, address="192.0.2.1", fresh=True)
    requests = [PredictRequest(model, text) for model, text in inputs]
    context = CallContext(request_id="req-1", operation="batch", api_version="v2", client="curl/8")
    return predict_many(caller, requests, context, whole=whole)


def lines(customer: Customer, by: str) -> dict[str, tuple[int, int]]:
    """Calls and inputs of each line of a report, and of the total under ``total``."""
    metering_ledger.drain()
    today = clock.now().date()
    report = usage_reports.summary(tenant_id=customer.tenant.pk, first=today, last=today, by=cast("Grouping", by))
    rows = usage_rows.read(tenant_id=customer.tenant.pk, first=today, last=today, by=[cast("Grouping", by)])
    found = {line.value: (line.calls, line.inputs) for line in report.lines}
    assert {str(getattr(row, by)): (row.calls, row.sums.inputs) for row in rows if getattr(row, by)} == {
        value: numbers for value, numbers in found.items() if value
    }
    return found | {"total": (report.total.calls, report.total.inputs)}


def left(customer: Customer) -> dict[str, int]:
    contract = contracts.contract_of(authenticate(customer.secret, address="192.0.2.1", fresh=True))
    decision = admission.peek(
        subject=contract.subject, limits=contract.limits, month_to_date=metering_ledger.month_to_date
    )
    return {state.limit.name: state.remaining for state in decision.states}


def limits(customer: Customer) -> None:
    """Ten requests of the tenant, ten of the model alpha, two at a time, ten a month."""
    some: dict[str, Any] = {"plan": customer.plan, "counts": "requests", "amount": 10}
    LimitRule.objects.create(name="hour", kind=LimitKind.FIXED_WINDOW, window_s=AGES_S, **some)
    LimitRule.objects.create(
        name="alpha", kind=LimitKind.SLIDING_WINDOW, window_s=3600, scope=LimitScope.MODEL, model="alpha", **some
    )
    LimitRule.objects.create(name="month", kind=LimitKind.MONTHLY, **some)
    LimitRule.objects.create(name="month-alpha", kind=LimitKind.MONTHLY, scope=LimitScope.MODEL, model="alpha", **some)
    LimitRule.objects.create(name="slots", kind=LimitKind.CONCURRENCY, **(some | {"amount": 2}))


@pytest.mark.parametrize("by", [by for by in get_args(Grouping) if by != "model"])
@pytest.mark.parametrize("fee", [0, 50])
def test_a_batch_over_four_models_is_one_call_of_five_inputs(acme: Customer, by: str, fee: int) -> None:
    Price.objects.filter(operation="batch").update(per_call=fee)
    answer = batch(acme, *((name, f"to {name}") for name in FOUR), ("alpha", "again"))
    assert answer.units == 5 + fee
    values = {"day": str(clock.now().date()), "key": acme.key.uid, "api_version": "v2", "operation": "batch"}
    assert lines(acme, by) == {values[by]: (1, 5), "total": (1, 5)}


@pytest.mark.parametrize("fee", [0, 50])
def test_by_model_the_calls_are_those_that_named_it_and_the_total_is_calls(acme: Customer, fee: int) -> None:
    Price.objects.filter(operation="batch").update(per_call=fee)
    batch(acme, *((name, f"to {name}") for name in FOUR), ("alpha", "again"))
    batch(acme, ("alpha", "once more"), ("alpha", "and again"))
    named = {"alpha": (2, 4), "beta": (1, 1), "gamma": (1, 1), "delta": (1, 1)}
    assert lines(acme, "model") == named | ({"": (2, 0)} if fee else {}) | {"total": (2, 7)}


def test_calls_that_came_together_are_calls_of_their_own(acme: Customer) -> None:
    caller = authenticate(acme.secret, address="192.0.2.1", fresh=True)
    context = CallContext(request_id="req-1", operation="predict", api_version="grpc", client="")
    predict_each(caller, [PredictRequest("alpha", text) for text in ("one", "two", "three")], context)
    assert lines(acme, "model") == {"alpha": (3, 3), "total": (3, 3)}
    assert len(ledger.records(acme.tenant)) == 0


def test_answers_from_the_cache_count_alike(acme: Customer) -> None:
    for _ in range(2):
        batch(acme, ("alpha", "hello"), ("beta", "hello"))
    assert lines(acme, "key") == {acme.key.uid: (2, 4), "total": (2, 4)}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("fee", [0, 50])
@pytest.mark.parametrize("first", [True, False])
def test_an_input_that_fails_takes_no_call_away(acme: Customer, whole: bool, fee: int, first: bool) -> None:
    """Whichever input it is: what was answered was answered in one call. The fee of a whole call is paid for all or nothing."""
    Price.objects.filter(operation="batch").update(per_call=fee)
    limits(acme)
    inputs = [("alpha", POISON), ("beta", "hello"), ("gamma", "hello")]
    batch(acme, *(inputs if first else reversed(inputs)), whole=whole)
    assert left(acme)["hour"] == 9
    assert lines(acme, "day") == {str(clock.now().date()): (1, 2), "total": (1, 2)}
    (rows,) = usage_rows.read(tenant_id=acme.tenant.pk, first=clock.now().date(), last=clock.now().date(), by=["day"])
    assert rows.sums.units == 2 + (0 if whole else fee)
    assert ledger.holds(acme.tenant) == 0


def test_a_call_of_which_nothing_was_answered_counts_as_none(acme: Customer) -> None:
    limits(acme)
    before = left(acme)
    batch(acme, ("alpha", POISON), ("beta", POISON))
    assert ledger.records(acme.tenant) == []
    assert left(acme) == before


def test_limits_on_requests_count_calls_and_those_of_a_model_the_calls_that_name_it(acme: Customer) -> None:
    limits(acme)
    batch(acme, *((name, f"to {name}") for name in FOUR), ("alpha", "again"))
    found = left(acme)
    assert {name: found[name] for name in ("hour", "alpha", "month", "month-alpha", "slots")} == {
        "hour": 9, "alpha": 9, "month": 9, "month-alpha": 9, "slots": 2,
    }  # fmt: skip
    batch(acme, ("beta", "one"), ("gamma", "two"))
    found = left(acme)
    assert (found["hour"], found["alpha"]) == (8, 9)


def test_a_month_that_redis_lost_is_rebuilt_with_calls_and_calls_of_the_model(acme: Customer) -> None:
    limits(acme)
    batch(acme, *((name, f"to {name}") for name in FOUR))
    batch(acme, ("beta", "hello"), ("gamma", "hello"))
    metering_ledger.drain()
    state, *_ = keys.of_tenant(acme.tenant.shard, acme.tenant.pk)
    redis.state().delete(state)
    found = left(acme)
    assert (found["month"], found["month-alpha"]) == (8, 9)


def test_a_batch_over_more_models_than_the_tenant_has_requests_left_passes_as_one(acme: Customer) -> None:
    LimitRule.objects.create(
        plan=acme.plan, name="one", kind=LimitKind.FIXED_WINDOW, window_s=AGES_S, counts="requests", amount=1
    )
    assert batch(acme, *((name, "hello") for name in FOUR)).units == 4
    with pytest.raises(PlatformError) as refused:
        batch(acme, ("alpha", "another"))
    assert refused.value.kind is ErrorKind.QUOTA_EXCEEDED
    assert "this call needs 1" in refused.value.detail


def test_versions_are_told_apart(acme: Customer) -> None:
    """A batch that names two versions of a model is a call of each, one of the model, and one of the API version."""
    batch(acme, ("alpha@1.0.0", "hello"), ("alpha", "hello"), ("alpha@2.0.0", "hello again"))
    assert lines(acme, "model")["alpha"] == (1, 3)
    for kind, subject in (
        ("model_version", "alpha@1.0.0"),
        ("model_version", "alpha@2.0.0"),
        ("api_version", "v2"),
    ):
        assert version_use.use_of(kind, subject) == version_use.Use(tenants=1, calls=1)
    assert version_use.tenants_using_model("alpha") == {acme.tenant.pk}
    before = sorted(VersionUse.objects.values_list("model", "model_version", "calls", "version_calls", "units"))
    version_use.rebuild_day(dt.datetime.now(dt.UTC).date())
    assert sorted(VersionUse.objects.values_list("model", "model_version", "calls", "version_calls", "units")) == before


def test_rest_and_graphql_say_the_same(acme: Customer) -> None:
    Price.objects.filter(operation="batch").update(per_call=50)
    api = Api(acme)
    sent = [{"model": name, "input": f"{number} to {name}"} for number, name in enumerate((*FOUR, "alpha"))]
    assert api.post("/v2/batch-predict", {"requests": sent}).status == 200
    metering_ledger.drain()
    by_key = api.get("/v2/usage?by=key").body
    assert [(line["calls"], line["inputs"]) for line in (*by_key["lines"], by_key["total"])] == [(1, 5), (1, 5)]
    by_model = api.get("/v2/usage?by=model").body
    assert by_model["lines"][0] == {
        "model": "", "what": "(call fee)", "calls": 1, "inputs": 0, "cached_inputs": 0, "units": 50, "saved_units": 0,
        "cache_hit_ratio": None,
    }  # fmt: skip
    assert {line["what"]: (line["calls"], line["inputs"]) for line in by_model["lines"][1:]} == {
        "alpha": (1, 2), "beta": (1, 1), "gamma": (1, 1), "delta": (1, 1),
    }  # fmt: skip
    assert (by_model["total"]["calls"], by_model["total"]["units"]) == (1, 55)
    csv = api.get("/v2/usage?by=model&format=csv").content.decode().splitlines()
    assert csv[1] == "(call fee),1,0,0,50,0"
    query = "{ tenant { usage(by: MODEL) { rows { model what calls inputs units } total { calls inputs units } } } }"
    told = api.post("/graphql", {"query": query}).body["data"]["tenant"]["usage"]
    assert told["rows"][0] == {"model": "", "what": "(call fee)", "calls": 1, "inputs": 0, "units": 50}
    assert told["rows"][1] == {"model": "alpha", "what": "alpha", "calls": 1, "inputs": 2, "units": 2}
    assert told["total"] == {"calls": 1, "inputs": 5, "units": 55}
