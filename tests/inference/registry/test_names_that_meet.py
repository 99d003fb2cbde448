"""Where a tenant's own model has the name of one on sale: what each name stands for, over the whole life of both."""

import datetime as dt
from typing import Any

import pytest

from billing import pricing
from billing.models import Price
from inference.models import ModelVersion, VersionState
from inference.registry import versions
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import api_keys
from tenants.deprecations import catalogue
from tenants.models import DeprecationSchedule
from tests.conftest import Customer, make_customer
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.graphql import ask
from tests.support.rest import Api, assert_problem
from tests.support.tiny_model import TinyWorker, make_version

pytestmark = pytest.mark.usefixtures("prices")


def resolved(customer: Customer, name: str) -> str | None:
    versions.forget()
    try:
        return versions.resolve(name, tenant_id=customer.tenant.pk).qualified_reference
    except PlatformError:
        return None


def end(subject: str, successor: str) -> None:
    """The subject ended a day ago."""
    make_schedule("model_version", subject, successor)
    now = clock.now()
    DeprecationSchedule.objects.filter(subject=subject).update(
        announce_at=now - dt.timedelta(days=9),
        deprecate_at=now - dt.timedelta(days=9),
        sunset_at=now - dt.timedelta(days=1),
    )
    catalogue.forget()


def test_the_end_of_a_version_on_sale_is_told_to_tenants_with_a_model_of_that_name(
    acme: Customer, tiny_worker: TinyWorker
) -> None:
    make_version("reviews", "0.9.0", "retired")
    make_version("reviews", "1.0.0")
    make_version("reviews", "5.0.0", owner=acme.tenant)
    end("reviews@0.9.0", "reviews@1.0.0")
    answer = Api(acme).post("/v2/predict", {"model": "reviews@0.9.0", "input": "hello"})
    assert_problem(answer, ErrorKind.GONE, "Use reviews@1.0.0")
    ledger.assert_untouched(acme)


def test_a_version_of_ones_own_that_ended_is_never_answered_by_one_on_sale(
    acme: Customer, globex: Customer, tiny_worker: TinyWorker
) -> None:
    for owner in (None, acme.tenant):
        make_version("reviews", "1.0.0", owner=owner)
        make_version("reviews", "0.9.0", "ready", owner=owner)
    own = ModelVersion.objects.get(version="0.9.0", model__owner=acme.tenant)
    assert resolved(acme, "reviews@0.9.0") == "acme/reviews@0.9.0"
    versions.retire(version=own)
    assert resolved(acme, "reviews@0.9.0") is None
    assert resolved(globex, "reviews@0.9.0") == "reviews@0.9.0"
    assert_problem(Api(acme).post("/v2/predict", {"model": "reviews@0.9.0", "input": "hello"}), ErrorKind.NOT_FOUND)
    assert "reviews@0.9.0" not in {f"{ref.name}@{ref.version}" for ref in versions.answering(tenant_id=acme.tenant.pk)}
    ledger.assert_untouched(acme)


def test_what_is_taken_out_of_service_is_not_answered_by_one_on_sale(acme: Customer, globex: Customer) -> None:
    make_version("reviews", "3.0.0")
    own = make_version("reviews", "1.0.0", owner=acme.tenant, live_since=clock.now())
    for _ in range(2):
        versions.limit_broken(version_id=own.pk, reason="It took too long.")
    assert ModelVersion.objects.get(pk=own.pk).state == VersionState.RETIRED
    assert [resolved(one, "reviews") for one in (acme, globex)] == [None, "reviews@3.0.0"]
    assert resolved(acme, "reviews@3.0.0") == "reviews@3.0.0", "what is pinned on sale goes on"


def test_a_push_that_fails_takes_no_name(acme: Customer) -> None:
    """Whether a worker refused it, or its owner retired it before one had tried it."""
    make_version("reviews", "1.0.0")
    failed = make_version("reviews", "1.0.0", "staged", owner=acme.tenant)
    versions.mark_verified(version_id=failed.pk, error="It has no weights.", for_good=True)
    given_up = make_version("reviews", "1.1.0", "staged", owner=acme.tenant)
    make_version("reviews", "1.1.0", "ready")
    versions.retire(version=given_up)
    assert set(ModelVersion.objects.filter(model__owner=acme.tenant).values_list("state", flat=True)) == {"retired"}
    assert [resolved(acme, name) for name in ("reviews", "reviews@1.0.0", "reviews@1.1.0")] == [
        "reviews@1.0.0", "reviews@1.0.0", "reviews@1.1.0",
    ]  # fmt: skip


def test_a_key_may_name_an_allowed_model_with_its_tenant(acme: Customer, tiny_worker: TinyWorker) -> None:
    tiny_worker.serve(make_version("reviews", "1.0.0", owner=acme.tenant))
    narrow = api_keys.issue(tenant=acme.tenant, name="Narrow", allowed_models=["reviews"])
    other = api_keys.issue(tenant=acme.tenant, name="Other", allowed_models=["sentiment"])
    for name in ("reviews", "acme/reviews", "acme/reviews@1.0.0"):
        body = {"model": name, "input": "hello"}
        assert Api(secret=narrow.secret).post("/v2/predict", body).status == 200
        assert_problem(Api(secret=other.secret).post("/v2/predict", body), ErrorKind.NOT_FOUND)


def test_the_list_shows_the_model_that_a_name_stands_for(acme: Customer) -> None:
    make_version("reviews", "1.0.0")
    older = make_version("reviews", "0.1.0", "ready", owner=acme.tenant)
    older.model.title = "Ours"
    older.model.save(update_fields=["title"])
    Price.objects.create(operation="predict", model="acme/reviews", per_input=99)
    pricing.forget()
    versions.forget()
    shown = Api(acme).get("/v2/models/reviews").body
    assert (shown["live_version"], shown["title"]) == ("1.0.0", "")
    assert shown["price"]["units_per_input"] != 99, "a call that names it goes to the one on sale"
    assert [one["version"] for one in shown["versions"]] == ["0.1.0", "1.0.0"]
    versions.promote(version=older, before_workers=True)
    versions.forget()
    shown = Api(acme).get("/v2/models/reviews").body
    assert (shown["live_version"], shown["title"], shown["price"]["units_per_input"]) == ("0.1.0", "Ours", 99)


def test_graphql_says_beforehand_what_ones_own_model_costs(acme: Customer, tiny_worker: TinyWorker) -> None:
    make_version("reviews", "1.0.0")
    tiny_worker.serve(make_version("reviews", "1.0.0", owner=acme.tenant))
    Price.objects.create(operation="predict", model="reviews", per_input=70)
    Price.objects.create(operation="predict", model="acme/reviews", per_input=3)
    pricing.forget()
    for name in ("reviews", "acme/reviews", "reviews@1.0.0"):
        body = ask(Api(acme), f'{{ predict(model: "{name}", inputData: "{name}") {{ units }} }}').body
        assert body["data"]["predict"]["units"] == 3
        assert body["extensions"]["cost"]["units"]["predictions"] == {"requested": 3, "actual": 3}


def test_a_model_on_sale_that_was_used_before_shows_its_own_versions(acme: Customer) -> None:
    from billing.models import UsageRecord

    make_version("reviews", "1.0.0")
    make_version("reviews", "2.0.0", owner=acme.tenant)
    for model, version in (("reviews", "1.0.0"), ("acme/reviews", "2.0.0")):
        UsageRecord.objects.create(
            id=f"u-{version}", tenant=acme.tenant, key_uid=acme.key.uid, occurred_at=clock.now(), request_id="r",
            operation="predict", model=model, model_version=version, api_version="v2", units=1,
        )  # fmt: skip
    query = """{ tenant { recentPredictions(first: 5) { edges { node {
        modelName model { name versions { version } liveVersion { version } } } } } } }"""
    edges = ask(Api(acme), query).body["data"]["tenant"]["recentPredictions"]["edges"]
    told = {edge["node"]["modelName"]: edge["node"]["model"] for edge in edges}
    assert told == {
        "reviews": {"name": "reviews", "versions": [{"version": "1.0.0"}], "liveVersion": {"version": "1.0.0"}},
        "acme/reviews": {"name": "reviews", "versions": [{"version": "2.0.0"}], "liveVersion": {"version": "2.0.0"}},
    }


def test_a_plain_name_in_an_operators_address_means_the_model_on_sale(acme: Customer) -> None:
    """As it does where an operator pushes."""
    operator = make_customer("platform")
    operator.tenant.operator = True
    operator.tenant.save(update_fields=["operator"])
    make_version("reviews", "1.0.0")
    make_version("reviews", "2.0.0", owner=operator.tenant)
    make_version("jokes", "2.0.0", owner=operator.tenant)
    api = Api(operator)
    shown: Any = {
        name: api.get(f"/v2/models/{name}/rollouts").body.get("live_version")
        for name in ("reviews", "platform~reviews", "jokes", "platform~jokes")
    }
    assert shown == {"reviews": "1.0.0", "platform~reviews": "2.0.0", "jokes": "2.0.0", "platform~jokes": "2.0.0"}
