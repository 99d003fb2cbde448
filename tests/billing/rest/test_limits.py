"""Limit headers on every answer, refusals with their problem, and ``limits/explain``."""

import datetime as dt
import math

import pytest

from billing.models import Counts, LimitKind, LimitRule, LimitScope, Plan, Price, Subscription
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys
from tests.conftest import Customer
from tests.support import ledger
from tests.support.live_worker import LiveWorker
from tests.support.rest import Answer, Api, assert_limit_headers, assert_problem, predict, structured_list
from tests.support.windows import AGES_S

pytestmark = pytest.mark.usefixtures("prices")


def limit(customer: Customer, name: str, kind: LimitKind, amount: int, **fields: object) -> LimitRule:
    return LimitRule.objects.create(plan=customer.plan, name=name, kind=kind, amount=amount, **fields)


@pytest.mark.parametrize(
    "header",
    [
        '"a;r=1',
        "a;r=1",
        '"a";r',
        '"a";R=1',
        '"a";r=1,',
        '"a";r=1 "b";r=1',
        '"a";r=1.5',
        '"a";r=1;',
        '"a"; r=-',
        '"ü";r=1',
        "",
    ],
)
def test_the_tests_parser_refuses_what_is_no_structured_list(header: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any reason will do
        structured_list(header)


def test_the_tests_parser_reads_the_drafts_example() -> None:
    assert structured_list('"burst";q=100;w=60,"daily";q=1000;w=86400;x-unit="units"') == {
        "burst": {"q": 100, "w": 60},
        "daily": {"q": 1000, "w": 86400, "x-unit": "units"},
    }


def test_every_kind_of_limit_stands_in_the_headers(acme: Customer) -> None:
    limit(acme, "hour", LimitKind.FIXED_WINDOW, 500, window_s=3600)
    limit(acme, "minute", LimitKind.SLIDING_WINDOW, 60, window_s=60, counts=Counts.REQUESTS)
    limit(acme, "month", LimitKind.MONTHLY, 5_000)
    limit(acme, "concurrent", LimitKind.CONCURRENCY, 4, counts=Counts.REQUESTS)
    answer = Api(acme).get("/v2/me")
    policies = structured_list(answer.headers["RateLimit-Policy"])
    assert policies["burst"] == {"q": 1000, "w": 10, "x-unit": "units"}
    assert policies["hour"] == {"q": 500, "w": 3600, "x-unit": "units"}
    assert policies["minute"] == {"q": 60, "w": 60}
    assert policies["month"]["w"] in {days * 86_400 for days in (28, 29, 30, 31)}
    assert policies["concurrent"] == {"q": 4}
    assert {name: values["r"] for name, values in assert_limit_headers(answer).items()} == {
        "burst": 1000, "hour": 500, "minute": 60, "month": 5_000, "concurrent": 4, "included": 1_000_000,
    }  # fmt: skip


def test_the_simple_headers_tell_the_tightest_limit(acme: Customer, live_worker: LiveWorker) -> None:
    limit(acme, "hour", LimitKind.FIXED_WINDOW, 10, window_s=3600)
    answer = predict(Api(acme))
    assert_limit_headers(answer)
    assert (answer.headers["X-RateLimit-Limit"], answer.headers["X-RateLimit-Remaining"]) == ("10", "9")
    assert 1 <= int(answer.headers["X-RateLimit-Reset"]) <= 3600


def test_a_bucket_that_stops_the_caller_soon_is_told_before_a_month_that_is_nearly_whole(
    acme: Customer, live_worker: LiveWorker
) -> None:
    LimitRule.objects.filter(plan=acme.plan).update(amount=3, rate=0.0001)
    api = Api(acme)
    assert api.get("/v2/me").headers["X-RateLimit-Remaining"] == "3"
    told = [predict(api, text=f"Text {number}.").headers["X-RateLimit-Remaining"] for number in range(3)]
    assert told == ["2", "1", "0"]
    refused = predict(api, text="One more.")
    assert_problem(refused, ErrorKind.QUOTA_EXCEEDED, "'burst'")
    assert (refused.headers["X-RateLimit-Limit"], refused.headers["X-RateLimit-Remaining"]) == ("3", "0")
    assert refused.headers["X-RateLimit-Reset"] == refused.headers["Retry-After"]


def test_limits_tells_every_limit_and_who_set_it(acme: Customer, live_worker: LiveWorker) -> None:
    LimitRule.objects.create(
        tenant=acme.tenant,
        name="vectors",
        kind=LimitKind.FIXED_WINDOW,
        amount=7,
        window_s=60,
        scope=LimitScope.MODEL,
        model="minilm",
    )
    LimitRule.objects.create(key=acme.key, name="own", kind=LimitKind.TOKEN_BUCKET, amount=20, rate=2.0)
    api = Api(acme)
    predict(api)
    answer = api.get("/v2/limits")
    assert answer.status == 200
    assert answer.body["plan"] == "Plan of acme"
    limits = {item["name"]: item for item in answer.body["limits"]}
    assert set(limits) == {"burst", "own", "vectors", "included"}
    assert 0 <= limits["vectors"].pop("whole_again_in_s") <= 60
    assert limits["vectors"] == {
        "name": "vectors", "kind": "fixed_window", "counts": "units", "scope": "model", "model": "minilm", "amount": 7,
        "window_s": 60, "refill_per_s": None, "set_by": "an agreement with the tenant", "remaining": 7,
    }  # fmt: skip
    assert (limits["own"]["scope"], limits["own"]["set_by"], limits["own"]["refill_per_s"]) == (
        "key",
        "key Production",
        2.0,
    )
    assert limits["included"]["set_by"] == "plan Plan of acme"
    assert limits["included"]["remaining"] == 999_999
    assert_limit_headers(answer)
    assert ledger.units(acme.tenant) == 1


def refused(customer: Customer) -> Answer:
    """The answer of the first call that a limit of two calls does not cover."""
    limit(customer, "hour", LimitKind.FIXED_WINDOW, 2, window_s=AGES_S, counts=Counts.REQUESTS)
    api = Api(customer)
    for text in ("One.", "Two."):
        assert predict(api, text=text).status == 200
    return predict(api, text="Three.")


def test_a_used_up_limit_refuses_and_takes_nothing(acme: Customer, live_worker: LiveWorker) -> None:
    answer = refused(acme)
    assert_problem(answer, ErrorKind.QUOTA_EXCEEDED, "'hour'", "plan Plan of acme", "0 left")
    assert answer.body["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert answer.body["violated-policies"] == ["hour"]
    limits = assert_limit_headers(answer)
    assert limits["hour"]["r"] == 0
    assert int(limits["burst"]["r"]) >= 998
    assert int(answer.headers["Retry-After"]) >= int(limits["hour"]["t"]) >= 1
    assert len(ledger.records(acme.tenant)) == 2
    assert ledger.holds(acme.tenant) == 0
    assert live_worker.inputs == 2


def test_a_cached_answer_is_limited_too(acme: Customer, live_worker: LiveWorker) -> None:
    limit(acme, "hour", LimitKind.FIXED_WINDOW, 2, window_s=AGES_S, counts=Counts.REQUESTS)
    api = Api(acme)
    assert [predict(api).status for _ in range(3)] == [200, 200, 429]
    assert live_worker.inputs == 1


def test_one_tenants_refusals_are_not_anothers(acme: Customer, globex: Customer, live_worker: LiveWorker) -> None:
    assert refused(acme).status == 429
    assert predict(Api(globex)).status == 200


def test_a_call_larger_than_its_limit_is_told_to_be_split(acme: Customer, live_worker: LiveWorker) -> None:
    limit(acme, "small", LimitKind.TOKEN_BUCKET, 40, rate=1.0)
    answer = Api(acme).post("/v2/batch-predict", {"requests": [{"model": "sentiment", "input": "x"}]})
    assert_problem(answer, ErrorKind.CHARGE_TOO_LARGE, "51 units", "'small'", "Split")
    assert answer.body["violated-policies"] == ["small"]
    assert "Retry-After" not in answer.headers
    assert_limit_headers(answer)
    ledger.assert_untouched(acme)


def test_a_tenant_without_a_plan_may_spend_nothing(acme: Customer, live_worker: LiveWorker) -> None:
    Subscription.objects.all().delete()
    api = Api(acme)
    answer = predict(api)
    assert_problem(answer, ErrorKind.FORBIDDEN, "no plan")
    assert_limit_headers(answer)
    assert api.get("/v2/me").body["plan"] is None
    assert api.get("/v2/limits").status == 200
    ledger.assert_untouched(acme)


def test_a_tenant_without_a_plan_may_make_free_calls(acme: Customer, live_worker: LiveWorker) -> None:
    Subscription.objects.all().delete()
    Price.objects.update(per_input=0, per_call=0)
    assert predict(Api(acme)).status == 200
    assert ledger.units(acme.tenant) == 0


def test_a_plan_with_overage_has_no_hard_cap(acme: Customer, live_worker: LiveWorker) -> None:
    Plan.objects.filter(pk=acme.plan.pk).update(included_units=0, overage_price="0.01")
    assert predict(Api(acme)).status == 200


def test_a_hard_cap_refuses_until_the_month_ends(acme: Customer, live_worker: LiveWorker) -> None:
    Plan.objects.filter(pk=acme.plan.pk).update(included_units=1)
    api = Api(acme)
    assert predict(api, text="One.").status == 200
    answer = predict(api, text="Two.")
    assert_problem(answer, ErrorKind.QUOTA_EXCEEDED, "'included'")
    assert answer.body["violated-policies"] == ["included"]
    assert int(answer.headers["Retry-After"]) >= int(assert_limit_headers(answer)["included"]["t"])


# --- Explain ----------------------------------------------------------------------------------------------------------------


def test_a_refusal_is_explained_with_every_limit(acme: Customer, live_worker: LiveWorker) -> None:
    answer = refused(acme)
    told = Api(acme).get(f"/v2/limits/explain/{answer.headers['X-Request-Id']}")
    assert told.status == 200
    assert told.body["request_id"] == answer.headers["X-Request-Id"]
    limits = {item["name"]: item for item in told.body["limits"]}
    assert set(limits) == {"burst", "hour", "included"}
    assert {name for name, item in limits.items() if item["refused"]} == {"hour"}
    hour = limits["hour"]
    assert (hour["asked"], hour["remaining"], hour["amount"], hour["set_by"]) == (1, 0, 2, "plan Plan of acme")
    assert limits["burst"]["would_have_passed_after_s"] == 0
    at, passes = (dt.datetime.fromisoformat(told.body[name]) for name in ("refused_at", "would_have_passed_at"))
    assert math.isclose((passes - at).total_seconds(), hour["would_have_passed_after_s"], abs_tol=0.002)
    assert math.ceil((passes - at).total_seconds()) == int(answer.headers["Retry-After"])
    assert_limit_headers(told)


def test_the_callers_own_request_id_finds_it(acme: Customer, live_worker: LiveWorker) -> None:
    refused(acme)
    body = {"model": "sentiment", "input": "Four."}
    assert Api(acme).post("/v2/predict", body, headers={"x-request-id": "order-17"}).status == 429
    assert Api(acme).get("/v2/limits/explain/order-17").body["request_id"] == "order-17"


def test_a_call_that_can_never_pass_is_explained_without_a_moment(acme: Customer, live_worker: LiveWorker) -> None:
    limit(acme, "small", LimitKind.TOKEN_BUCKET, 40, rate=1.0)
    answer = Api(acme).post("/v2/batch-predict", {"requests": [{"model": "sentiment", "input": "x"}]})
    told = Api(acme).get(f"/v2/limits/explain/{answer.body['request_id']}").body
    assert told["would_have_passed_at"] is None
    assert [item["name"] for item in told["limits"] if item["refused"]] == ["small"]


def test_a_refusal_is_not_explained_to_others(acme: Customer, globex: Customer, live_worker: LiveWorker) -> None:
    request_id = refused(acme).headers["X-Request-Id"]
    hidden = Api(globex).get(f"/v2/limits/explain/{request_id}")
    missing = Api(globex).get("/v2/limits/explain/no-such-call")
    assert_problem(hidden, ErrorKind.NOT_FOUND)
    assert hidden.body["detail"] == missing.body["detail"]


@pytest.mark.parametrize("request_id", ["no-such-call", "%00", "a%2Fb", "ü", "x" * 5_000])
def test_a_call_that_was_not_refused(acme: Customer, request_id: str) -> None:
    assert_problem(Api(acme).get(f"/v2/limits/explain/{request_id}"), ErrorKind.NOT_FOUND)


@pytest.mark.parametrize("path", ["/v2/limits", "/v2/limits/explain/x", "/v2/usage"])
def test_a_key_without_the_scope(acme: Customer, path: str) -> None:
    blind = api_keys.issue(tenant=acme.tenant, name="Blind", scopes=["predict"])
    assert_problem(Api(secret=blind.secret).get(path), ErrorKind.FORBIDDEN, "'usage:read'")
