"""What the one entry point refuses: with which words, and uncharged."""

from functools import partial

import pytest
from prometheus_client import REGISTRY
from pytest_django import Settings

from billing import admission, contracts
from billing.charging import Refused
from billing.models import LimitKind, LimitRule, Plan
from inference.batching import current
from inference.cache import single_flight, store
from inference.engine.predict import predict, single
from inference.types import PredictRequest
from mlplatform.lib import tally
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import api_keys, tenancy
from tenants.authentication import authenticate
from tenants.guards import StaleCaller
from tests.conftest import Customer
from tests.inference.engine.test_predict import (
    LARGE,
    ask,
    ask_many,
    call,
    caller_of,
    charges,
    kind_of,
    large,
    open_holds,
)
from tests.support import ledger
from tests.support.redis_server import RedisServer
from tests.support.tiny_model import POISON, TinyRuntime, TinyWorker, make_version

__all__ = ["large"]

pytestmark = pytest.mark.usefixtures("prices")


def test_a_scope_that_is_lacking_is_named(acme: Customer, large: TinyRuntime) -> None:
    secret = api_keys.issue(tenant=acme.tenant, name="Reader", scopes=["usage:read"]).secret
    caller = authenticate(secret, address="192.0.2.1")
    request = PredictRequest("large", "hello")
    assert kind_of(lambda: predict(caller, request, call())) is ErrorKind.FORBIDDEN
    ledger.assert_untouched(acme)


def test_models_that_a_key_may_not_use_answer_as_if_they_did_not_exist(acme: Customer, large: TinyRuntime) -> None:
    make_version("small")
    secret = api_keys.issue(tenant=acme.tenant, name="Narrow", allowed_models=["small"]).secret
    narrow = Customer(acme.tenant, acme.owner, acme.key, secret, acme.plan)
    details = []
    for customer, name in ((narrow, "large"), (narrow, "large@1.0.0"), (acme, "nothing"), (acme, "large@9.9.9")):
        with pytest.raises(PlatformError) as caught:
            ask(customer, model=name)
        assert caught.value.kind is ErrorKind.NOT_FOUND
        details.append(caught.value.detail.replace(name, "…"))
    assert len(set(details)) == 1
    ledger.assert_untouched(acme)


def test_the_tenants_default_model_answers_calls_that_name_none(acme: Customer, large: TinyRuntime) -> None:
    assert kind_of(lambda: ask(acme, model="")) is ErrorKind.INVALID_INPUT
    acme.tenant.default_model = "large"
    acme.tenant.save()
    tenancy.changed(tenant=acme.tenant)
    assert ask(acme, model="").model == "large"


def test_an_embedding_has_no_labels(acme: Customer, tiny_worker: TinyWorker) -> None:
    tiny_worker.serve(make_version("embed", labels=[], output_schema={"kind": "embedding", "dimensions": 3}))
    result = ask(acme, model="embed")
    assert result.predictions is None
    assert result.embedding is not None
    assert len(result.embedding) == 3
    caller = caller_of(acme)
    for request in (PredictRequest("embed", "x", top_k=1), PredictRequest("embed", "x", labels_only=True)):
        assert kind_of(partial(predict, caller, request, call())) is ErrorKind.INVALID_INPUT


def test_top_k_takes_the_best(acme: Customer, large: TinyRuntime) -> None:
    answer = single(predict(caller_of(acme), PredictRequest("large", "hello", top_k=1), call()))
    assert [score.label for score in answer.predictions or ()] == ["no"]


def test_a_refused_call_is_explained_and_charges_nothing(acme: Customer, large: TinyRuntime) -> None:
    LimitRule.objects.filter(name="burst").update(amount=25, rate=0.001)
    ask(acme, "one")
    ask(acme, "two")
    before = charges(acme)
    with pytest.raises(Refused) as caught:
        ask(acme, "three", request_id="req-refused")
    assert caught.value.kind is ErrorKind.QUOTA_EXCEEDED
    assert caught.value.extra == {"violated-policies": ["burst"]}
    assert "'burst' of 25 units, set by plan Plan of acme, has 5 left and this call needs 10" in caught.value.detail
    assert caught.value.retry_after_s is not None
    assert 4000 < caught.value.retry_after_s <= 5000
    assert charges(acme) == before
    assert len(large.computed) == 2
    refusal = admission.explain(shard=acme.tenant.shard, tenant_id=acme.tenant.pk, request_id="req-refused")
    assert refusal is not None
    assert [limit.name for limit in refusal.limits if limit.refused] == ["burst"]


def test_a_call_that_can_never_pass_is_told_to_split(acme: Customer, large: TinyRuntime) -> None:
    LimitRule.objects.filter(name="burst").update(amount=9)
    with pytest.raises(Refused) as caught:
        ask(acme)
    assert (caught.value.kind, caught.value.retry_after_s) == (ErrorKind.CHARGE_TOO_LARGE, None)
    assert "needs 10 units, more than the limit 'burst' (9, set by plan" in caught.value.detail
    ledger.assert_untouched(acme)


def test_concurrency_is_given_back_when_the_answer_is_there(acme: Customer, large: TinyRuntime) -> None:
    LimitRule.objects.create(plan=acme.plan, name="slots", kind=LimitKind.CONCURRENCY, counts="requests", amount=1)
    for text in ("a", "b", "c"):
        ask(acme, text)
    ask_many(acme, "d", "e", POISON)
    ask(acme, "a")
    assert open_holds(acme) == 0


def test_without_a_plan_nothing_that_costs_is_answered(acme: Customer, large: TinyRuntime) -> None:
    acme.tenant.subscriptions.all().delete()
    with pytest.raises(Refused) as caught:
        ask(acme)
    assert caught.value.kind is ErrorKind.FORBIDDEN
    assert large.computed == []


def test_a_hard_cap_ends_at_the_included_units_and_overage_does_not(acme: Customer, large: TinyRuntime) -> None:
    Plan.objects.update(included_units=25)
    ask(acme, "one")
    ask(acme, "two")
    with pytest.raises(Refused) as caught:
        ask(acme, "three")
    assert caught.value.extra == {"violated-policies": ["included"]}
    Plan.objects.update(overage_price="0.01")
    contracts.plan_changed(plan=acme.plan)
    assert ask(acme, "three").units == LARGE


def test_while_the_state_redis_is_away_nothing_is_computed(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime, state_redis: RedisServer
) -> None:
    ask(acme)
    state_redis.stop()
    for text in ("hello", "another"):
        assert kind_of(partial(ask, acme, text)) is ErrorKind.UNAVAILABLE
    assert single_flight.under_way() == []
    state_redis.start()
    assert ask(acme).cached
    assert large.computed == ["hello"]


@pytest.mark.django_db(transaction=True)
def test_a_stale_caller_is_told_so_and_leaves_nothing_behind(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime
) -> None:
    caller = caller_of(acme)
    ask(acme, "before")
    api_keys.changed(key=acme.key)
    with pytest.raises(StaleCaller):
        predict(caller, PredictRequest("large", "hello"), call())
    assert single_flight.under_way() == []
    assert open_holds(acme) == 0
    assert ask(acme).units == LARGE


def test_lookups_are_counted(acme: Customer, large: TinyRuntime) -> None:
    def hits(level: str) -> float:
        tally.flush()
        return REGISTRY.get_sample_value("mlplatform_cache_lookups_total", {"level": level, "outcome": "hit"}) or 0.0

    before = (hits("process"), hits("redis"))
    ask(acme)
    ask(acme)
    store.local.clear()
    ask(acme)
    assert (hits("process"), hits("redis")) == (before[0] + 1, before[1] + 1)


def test_a_full_queue_charges_nothing(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime, settings: Settings
) -> None:
    settings.MAX_QUEUED_INPUTS = 2
    current.forget()  # The next batcher reads it.
    answer = ask_many(acme, "a", "b", "c")
    assert {result.kind for result in answer.results if isinstance(result, PlatformError)} == {ErrorKind.OVERLOADED}
    assert len(answer.results) == 3
    assert charges(acme) == []
    assert single_flight.under_way() == []
    assert tiny_worker.batches == []
