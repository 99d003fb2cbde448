"""Names of private models live in the tenant's own namespace: what wins where, what reports say, and who is told."""

import datetime as dt
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client

from billing.models import LimitRule, Price, UsageRecord
from inference.deprecations import subjects
from inference.models import MLModel, ModelVersion
from inference.registry import live, names, versions
from inference.registry.packages import storage
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.models import DeprecationSchedule
from tests.conftest import Customer
from tests.support import ledger, staff
from tests.support.ending import make_schedule
from tests.support.graphql import ask
from tests.support.rest import Api, assert_problem
from tests.support.tiny_model import TinyWorker, make_version, tiny_worker

__all__ = ["tiny_worker"]

pytestmark = pytest.mark.usefixtures("prices")


def test_names_are_unique_on_sale_and_for_each_owner(acme: Customer, globex: Customer) -> None:
    for owner in (None, acme.tenant, globex.tenant):
        model = MLModel.objects.create(name="reviews", owner=owner)
        with pytest.raises(IntegrityError), transaction.atomic():
            MLModel.objects.create(name="reviews", owner=owner)
        with pytest.raises(ValidationError):
            MLModel(name="reviews", owner=owner).full_clean()
        assert str(model) == model.qualified_name == (f"{owner.slug}/reviews" if owner else "reviews")
        assert names.model(model.qualified_name) == model
    assert names.model("initech/reviews") is None
    assert names.namesakes("reviews") == ["acme/reviews", "globex/reviews"]
    annotated = MLModel.objects.annotate(meter=names.sql()).values_list("meter", flat=True)
    assert sorted(annotated) == ["acme/reviews", "globex/reviews", "reviews"]


def test_ones_own_wins_as_soon_as_it_is_live(acme: Customer, globex: Customer) -> None:
    shared = make_version("reviews", "1.0.0")
    own = make_version("reviews", "2.0.0", "staged", owner=acme.tenant)

    def version_of(name: str) -> str:
        versions.forget()
        return versions.resolve(name, tenant_id=acme.tenant.pk).qualified_reference

    assert version_of("reviews") == "reviews@1.0.0", "a push alone takes nothing from running programs"
    versions.mark_verified(version_id=own.pk, error="")
    assert version_of("reviews") == "reviews@1.0.0"
    assert version_of("reviews@2.0.0") == "acme/reviews@2.0.0", "it can be tried before"
    versions.promote(version=own)
    assert version_of("reviews") == version_of("acme/reviews") == "acme/reviews@2.0.0"
    assert version_of("reviews@1.0.0") == "reviews@1.0.0", "what was pinned on sale goes on"
    assert versions.resolve("reviews", tenant_id=globex.tenant.pk).version_id == shared.pk
    for name in ("acme/reviews", "acme/reviews@2.0.0", "globex/reviews"):
        with pytest.raises(PlatformError):
            versions.resolve(name, tenant_id=globex.tenant.pk)
    assert [ref.qualified_reference for ref in versions.answering(tenant_id=acme.tenant.pk)] == ["acme/reviews@2.0.0"]
    assert [ref.qualified_reference for ref in versions.answering(tenant_id=globex.tenant.pk)] == ["reviews@1.0.0"]


def test_the_same_version_of_ones_own_goes_before_that_on_sale(acme: Customer) -> None:
    make_version("reviews", "1.0.0")
    make_version("reviews", "1.0.0", "ready", owner=acme.tenant)
    assert versions.resolve("reviews@1.0.0", tenant_id=acme.tenant.pk).owner_id == acme.tenant.pk
    assert versions.resolve("reviews", tenant_id=acme.tenant.pk).owner_id is None
    (both,) = [model for model in Api(acme).get("/v2/models").body["models"] if model["name"] == "reviews"]
    assert [one["version"] for one in both["versions"]] == ["1.0.0"]


def test_prices_and_limits_of_one_are_not_those_of_the_other(
    acme: Customer, globex: Customer, tiny_worker: TinyWorker
) -> None:
    for owner in (None, acme.tenant):
        version = make_version("reviews", "1.0.0", owner=owner)
        if owner is None:
            MLModel.objects.filter(pk=version.model_id).update(owner=None)
    versions.forget()
    for row in ModelVersion.objects.select_related("model__owner"):
        tiny_worker.serve(row)
    Price.objects.create(operation="predict", model="reviews", per_input=7)
    Price.objects.create(operation="predict", model="acme/reviews", per_input=3)
    LimitRule.objects.create(
        plan=globex.plan, name="shared", kind="fixed_window", counts="requests", scope="model", model="acme/reviews",
        amount=1, window_s=3600,
    )  # fmt: skip
    from billing import pricing

    pricing.forget()
    body = {"model": "reviews", "input": "hello"}
    assert Api(acme).post("/v2/predict", body).body["usage"]["units"] == 3
    for text in ("one", "two"):
        answer = Api(globex).post("/v2/predict", body | {"input": text})
        assert (answer.status, answer.body["usage"]["units"]) == (200, 7), "the limit is of another model"
    assert Api(acme).get("/v2/models/reviews").body["price"]["units_per_input"] == 3
    assert Api(globex).get("/v2/models/reviews").body["price"]["units_per_input"] == 7


def test_schedules_name_it_with_its_tenant(acme: Customer, globex: Customer, tiny_worker: TinyWorker) -> None:
    make_version("reviews", "0.9.0", "ready")
    old = make_version("reviews", "0.9.0", "ready", owner=acme.tenant)
    make_version("reviews", "1.0.0", owner=acme.tenant)
    tiny_worker.serve(ModelVersion.objects.select_related("model__owner").get(pk=old.pk))
    assert ("acme/reviews@0.9.0", "acme/reviews@0.9.0") in subjects.choices("model_version")
    assert subjects.successor_of("acme/reviews@0.9.0") == "acme/reviews@1.0.0"
    make_schedule("model_version", "acme/reviews@0.9.0", "acme/reviews@1.0.0")
    answer = Api(acme).post("/v2/predict", {"model": "reviews@0.9.0", "input": "hello"})
    assert answer.status == 200
    assert "/docs/migrate/acme/reviews@0.9.0-1.0.0" in answer.headers["Link"]
    assert live.subject_of("reviews@0.9.0", tenant_id=globex.tenant.pk) == "reviews@0.9.0"
    assert [live.is_visible_to("acme/reviews@0.9.0", tenant_id=one) for one in (acme.tenant.pk, globex.tenant.pk, None)] == [
        True, False, False,
    ]  # fmt: skip


def test_a_retired_version_that_ended_is_still_ones_own(acme: Customer, tiny_worker: TinyWorker) -> None:
    make_version("reviews", "0.9.0", "retired", owner=acme.tenant)
    make_version("reviews", "1.0.0", owner=acme.tenant)
    now = clock.now()
    make_schedule("model_version", "acme/reviews@0.9.0", "acme/reviews@1.0.0")
    DeprecationSchedule.objects.update(
        announce_at=now - dt.timedelta(days=9),
        deprecate_at=now - dt.timedelta(days=9),
        sunset_at=now - dt.timedelta(days=1),
    )
    from tenants.deprecations import catalogue

    catalogue.forget()
    answer = Api(acme).post("/v2/predict", {"model": "reviews@0.9.0", "input": "hello"})
    assert_problem(answer, ErrorKind.GONE)
    ledger.assert_untouched(acme)


def test_an_operator_manages_a_tenants_model_under_its_address(acme: Customer, globex: Customer) -> None:
    make_version("reviews", "1.0.0", owner=globex.tenant)
    acme.tenant.operator = True
    acme.tenant.save(update_fields=["operator"])
    assert Api(acme).get("/v2/models/globex~reviews/rollouts").status == 200
    assert Api(acme).get("/v2/models/reviews/rollouts").status == 404
    assert Api(globex).get("/v2/models/reviews/rollouts").status == 200
    assert Api(globex).get("/v2/models/globex~reviews/rollouts").status == 200, "its own may be named in full, too"
    assert Api(globex).get("/v2/models/acme~reviews/rollouts").status == 404


def test_graphql_usage_leads_to_it(acme: Customer, globex: Customer) -> None:
    make_version("reviews", "1.0.0")
    make_version("reviews", "2.0.0", "retired", owner=acme.tenant)
    for customer, model, version in ((acme, "acme/reviews", "2.0.0"), (globex, "reviews", "1.0.0")):
        UsageRecord.objects.create(
            id=f"u-{customer.tenant.slug}", tenant=customer.tenant, key_uid=customer.key.uid, occurred_at=clock.now(),
            request_id="r", operation="predict", model=model, model_version=version, api_version="v2", units=1,
        )  # fmt: skip
    query = "{ tenant { recentPredictions(first: 5) { edges { node { modelName version { reference state } } } } } }"
    found = {
        customer.tenant.slug: ask(Api(customer), query).body["data"]["tenant"]["recentPredictions"]["edges"]
        for customer in (acme, globex)
    }
    assert [edge["node"] for edge in found["acme"]] == [
        {"modelName": "acme/reviews", "version": {"reference": "reviews@2.0.0", "state": "RETIRED"}}
    ]
    assert [edge["node"] for edge in found["globex"]] == [
        {"modelName": "reviews", "version": {"reference": "reviews@1.0.0", "state": "LIVE"}}
    ]


def test_staff_are_told_when_a_name_on_sale_meets_private_ones(acme: Customer, db: None) -> None:
    MLModel.objects.create(name="reviews", owner=acme.tenant)
    client: Client = staff.signed_in(staff.superuser())
    fields = {"name": "reviews", "title": "", "description": "", "cache_ttl_s": "60", "pool": "gpu", "owner": ""}
    page = client.post("/admin/inference/mlmodel/add/", fields, follow=True)
    assert "1 tenant has a model of this name, which goes on answering its own calls: acme/reviews." in staff.said(page)
    assert sorted(str(model) for model in MLModel.objects.all()) == ["acme/reviews", "reviews"]


def test_files_that_were_pushed_before_namespaces_go_with_their_version(
    acme: Customer, django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(storage, "remove", removed.append)
    path = storage.path_of(model="reviews", version="1.0.0", digest="ab" * 32)
    version = make_version("reviews", "1.0.0", "ready", owner=acme.tenant, digest="ab" * 32, artefact_path=path)
    with django_capture_on_commit_callbacks(execute=True):
        versions.retire(version=version)
    assert removed == [path]


def test_staff_find_a_model_by_the_name_that_reports_have(acme: Customer, globex: Customer) -> None:
    client: Client = staff.signed_in(staff.superuser())
    for owner in (None, acme.tenant, globex.tenant):
        make_version("reviews", "1.0.0", owner=owner)

    def found(page: str, query: str) -> list[str]:
        shown = client.get(f"/admin/inference/{page}/", {"q": query}).context["cl"].result_list
        return sorted(str(row) for row in shown)

    assert found("mlmodel", "acme/reviews") == ["acme/reviews"]
    assert found("modelversion", "acme/reviews@1.0.0") == ["acme/reviews@1.0.0"]
    assert found("mlmodel", "reviews") == ["acme/reviews", "globex/reviews", "reviews"]
    assert found("modelversion", "globex") == ["globex/reviews@1.0.0"]


def test_what_was_promised_of_a_model_goes_with_it_to_another_owner(acme: Customer) -> None:
    make_version("reviews", "0.9.0", "ready")
    model = make_version("reviews", "1.0.0").model
    make_schedule("model_version", "reviews@0.9.0", "reviews@1.0.0")
    Price.objects.create(operation="predict", model="reviews", per_input=7)
    client: Client = staff.signed_in(staff.superuser())
    fields = {"name": "reviews", "title": "", "description": "", "cache_ttl_s": "60", "pool": "gpu"}
    page = client.post(
        f"/admin/inference/mlmodel/{model.pk}/change/",
        fields | {"owner": str(acme.tenant.pk)} | staff.no_rows("versions"),
        follow=True,
    )
    assert MLModel.objects.get().qualified_name == "acme/reviews"
    schedule = DeprecationSchedule.objects.get()
    assert (schedule.subject, schedule.successor) == ("acme/reviews@0.9.0", "acme/reviews@1.0.0")
    assert [text for text in staff.said(page) if "reviews" in text][:2] == [
        "It is acme/reviews on meters and in reports from now on, and was reviews; its schedules were renamed.",
        "Still of reviews, and so of this model no more: the price of predict.",
    ]
    with pytest.raises(PlatformError, match="was promised until"):
        versions.retire(version=ModelVersion.objects.get(version="0.9.0"))
