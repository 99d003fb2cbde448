"""The OpenAPI documents: they are what was reviewed, say what the product does, and hold when a machine tries them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import schemathesis
from django.db import OperationalError
from django.urls import URLPattern, URLResolver, get_resolver, resolve
from django.urls.resolvers import RoutePattern
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, Phase, given
from pytest_django import Settings
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from billing.rest.views import KeyedView
from inference.api_versions import VERSIONS
from inference.deprecations.samples import store as samples
from inference.models import EndUser, Item, MLModel, RolloutKind
from inference.registry import versions
from inference.registry.rollouts import trials
from mlplatform.docs import openapi
from mlplatform.lib import clock
from mlplatform.wsgi import application
from tenants.deprecations import catalogue
from tenants.models import Tenant
from tenants.rest.openapi import api_version_of
from tests.conftest import Customer
from tests.support.ending import DAY, make_schedule
from tests.support.examples import examples
from tests.support.live_worker import LiveWorker, demo_models, live_worker
from tests.support.openapi_documents import inlined
from tests.support.rest import Api, one_transaction
from tests.support.walked_clock import Walk, walk

__all__ = ["demo_models", "live_worker", "walk"]

SNAPSHOTS = Path(__file__).parent / "snapshots"
METHODS = ("get", "post", "put", "patch", "delete")


def operations(version: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and declaration of each operation of a document."""
    for path, item in inlined(json.loads(openapi.document(version)))["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def example_path(path: str) -> str:
    names = {"{model}": "sentiment", "{request_id}": "no-such-call", "{deprecation_id}": "1"}
    for name, example in names.items():
        path = path.replace(name, example)
    return path


def untried() -> None:
    """Sentiment's older version is live and the other is ready, with nothing tried, and something to go back to."""
    model = MLModel.objects.get(name="sentiment")
    for kind in RolloutKind:
        trials.stop(model=model, kind=kind)
    for version in ("2.0.0", "1.0.0"):
        versions.promote(version=model.versions.get(version=version))


@pytest.mark.parametrize("version", openapi.VERSIONS)
def test_the_document_is_the_one_that_was_reviewed(version: str) -> None:
    """``UPDATE_SNAPSHOTS=1`` writes it anew; look at what changed before you commit it."""
    snapshot = SNAPSHOTS / f"openapi-{version}.json"
    readable = orjson.dumps(orjson.loads(openapi.document(version)), option=orjson.OPT_INDENT_2) + b"\n"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        snapshot.write_bytes(readable)
    assert readable.decode() == snapshot.read_text()


@pytest.mark.parametrize("version", openapi.VERSIONS)
def test_it_is_valid_and_every_reference_leads_somewhere(version: str) -> None:
    document = json.loads(openapi.document(version))
    validate_schema(document)
    allowed = re.compile(r"[A-Za-z0-9._-]+")  # OpenAPI's own rule; its schema does not hold it for every kind
    for kind, components in document["components"].items():
        used = set(re.findall(rf'"#/components/{kind}/([^"]*)"', json.dumps(document)))
        if kind != "securitySchemes":
            assert used == set(components), kind
        assert all(allowed.fullmatch(name) for name in components)


def test_it_stays_small_enough_to_be_read_on_each_start_of_a_client(db: None) -> None:
    """It was 714 kB while each of forty operations wrote out every problem."""
    answer = Api().get("/v2/openapi.json", headers={"Accept-Encoding": "identity"})
    assert len(answer.content) <= 150_000


def test_every_problem_of_an_operation_is_a_shared_one() -> None:
    for version in openapi.VERSIONS:
        for item in json.loads(openapi.document(version))["paths"].values():
            for operation in item.values():
                for status, response in operation["responses"].items():
                    assert status < "400" or response["$ref"].startswith("#/components/responses/")


@pytest.mark.parametrize("version", openapi.VERSIONS)
def test_it_is_served(db: None, version: str) -> None:
    answer = Api().get(f"/{version}/openapi.json")
    assert answer.status == 200
    assert answer.content == openapi.document(version)
    assert answer.body["openapi"] == "3.1.0"


def test_what_is_deprecated_is_marked_from_that_moment(db: None, walk: Walk) -> None:
    row = make_schedule(announced_days_ago=-5, deprecated_days_ago=-10)
    plain = openapi.document("v1")
    for moment in (clock.now(), row.announce_at, row.deprecate_at - DAY):
        walk(moment)
        assert Api().get("/v1/openapi.json").content == plain
    walk(row.deprecate_at)
    paths = Api().get("/v1/openapi.json").body["paths"]
    marked = paths["/v1/predict"]["post"]
    assert marked["deprecated"] is True
    assert marked["x-sunset"] == row.sunset_at.isoformat()
    assert f"{row.sunset_at.day} {row.sunset_at:%B %Y}" in marked["description"]
    assert "/docs/migrate/v1-v2" in marked["description"]
    assert "deprecated" not in paths["/v1.1/predict"]["post"], "v1.1 goes on"
    assert Api().get("/v2/openapi.json").content == openapi.document("v2")
    walk(row.sunset_at)
    assert "ended on" in Api().get("/v1/openapi.json").body["paths"]["/v1/predict"]["post"]["description"]
    schedules_of_nobody = json.loads(openapi.document("v1"))
    assert "deprecated" not in schedules_of_nobody["paths"]["/v1/predict"]["post"], "the reviewed document is untouched"


def test_without_a_database_the_document_is_there_and_says_nothing_of_deprecations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away() -> None:
        raise OperationalError

    monkeypatch.setattr(catalogue, "current", away)
    assert Api().get("/v1/openapi.json").content == openapi.document("v1")


def test_predictions_name_what_ending_versions_answer() -> None:
    headers = {"Deprecation", "Sunset", "Link", "X-API-Deprecated", "X-API-Sunset-Date"}
    for version in openapi.VERSIONS:
        for path, _, operation in operations(version):
            if path.endswith("predict"):
                assert {"410", "503"} <= set(operation["responses"])
                assert "Brownout" in operation["responses"]["503"]["description"]
                for status in ("200", "410", "503"):
                    assert headers <= set(operation["responses"][status]["headers"]), (path, status)


@pytest.mark.parametrize("version", openapi.VERSIONS)
def test_each_operation_is_declared_on_the_view_that_answers(version: str) -> None:
    for path, method, operation in operations(version):
        serving = resolve(example_path(path)).func.cls  # type: ignore[attr-defined]
        assert serving.operations[api_version_of(path)][method].id == operation["operationId"], path


def test_each_method_that_a_view_serves_is_declared_and_no_other() -> None:
    for route, view in api_patterns():
        for declared in view.operations.values():
            assert set(declared) == {method for method in METHODS if hasattr(view, method)}, route


def test_a_process_that_only_serves_never_loads_what_writes_documents() -> None:
    """Declarations are data: what reads them is loaded with the first document that is asked for."""
    script = "import django, sys; django.setup(); import mlplatform.urls; print([*map(sys.modules.get, sys.argv[1:])])"
    writers = ["drf_spectacular.openapi", "drf_spectacular.generators", "mlplatform.docs.building"]
    made = subprocess.run([sys.executable, "-c", script, *writers], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[None, None, None]"


def api_patterns() -> Iterator[tuple[str, type[KeyedView]]]:
    """Every route below ``/<API version>/`` with its view."""

    def walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, type[KeyedView]]]:
        for entry in resolver.url_patterns:
            assert isinstance(entry.pattern, RoutePattern)
            route = f"{prefix}{entry.pattern}"
            if isinstance(entry, URLPattern):
                yield route, entry.callback.cls  # type: ignore[attr-defined]
            else:
                yield from walk(entry, route)

    for entry in get_resolver().url_patterns:
        if isinstance(entry, URLResolver) and "path_version" in str(entry.pattern):
            yield from walk(entry, str(entry.pattern))


def test_every_address_of_the_api_is_declared() -> None:
    routes = list(api_patterns())
    assert len(routes) > 5
    found = {path for version in openapi.VERSIONS for path, _, _ in operations(version)}
    for route, view in routes:
        for api_version in view.api_versions:
            path = (
                f"/{route}".replace("<api_version:path_version>", api_version).replace("<str:", "{").replace(">", "}")
            )
            assert path in found, path


@pytest.mark.parametrize("version", openapi.VERSIONS)
def test_each_operation_names_its_problems_and_headers(version: str) -> None:
    for path, _, operation in operations(version):
        responses = operation["responses"]
        assert {"400", "401", "403", "404", "429", "500", "503"} <= set(responses), path
        (good,) = {"200", "201", "202"} & set(responses)
        for status, response in responses.items():
            assert {"RateLimit", "RateLimit-Policy", "API-Version", "X-Request-Id"} <= set(response["headers"])
            if status != good:
                assert list(response["content"]) == ["application/problem+json"]
        assert "Retry-After" in responses["429"]["headers"]
        assert "WWW-Authenticate" in responses["401"]["headers"]
        assert operation["security"] == [{"bearer": []}, {"apiKey": []}]
        assert operation["summary"]
        assert operation["description"]


def test_the_versions_are_all_there() -> None:
    paths = {path for version in openapi.VERSIONS for path, _, _ in operations(version)}
    assert {f"/{version}/predict" for version in VERSIONS} <= paths
    assert "/predict" in paths


@pytest.mark.parametrize("version", openapi.VERSIONS)
def test_the_examples_work(acme: Customer, prices: None, live_worker: LiveWorker, version: str) -> None:
    make_schedule(pk=1)
    samples.opt_in(tenant=acme.tenant)
    EndUser.objects.create(tenant=acme.tenant, external_id="user-17")
    Item.objects.create(tenant=acme.tenant, external_id="book-1", title="A book that a user likes")
    Tenant.objects.filter(pk=acme.tenant.pk).update(operator=True)
    tried = 0
    for path, method, operation in operations(version):
        if operation["tags"] == ["Rollouts"]:
            untried()
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for name, example in content.get("examples", {}).items():  # a zip has none
                assert method == "post"
                answer = Api(acme).post(example_path(path), example["value"])
                assert answer.status == next(int(one) for one in operation["responses"]), (path, name, answer.body)
                assert all(item.get("status", 200) == 200 for item in answer.body.get("responses", ()))
                tried += 1
    assert tried >= 2


# --- A machine tries what the document promises -----------------------------------------------------------------------------


@pytest.fixture
def document(acme: Customer, prices: None, live_worker: LiveWorker, settings: Settings) -> Iterator[Any]:
    """The document of v2, tried against the application itself."""
    settings.WRONG_KEYS_PER_ADDRESS = "1000000/h"
    acme.plan.limits.update(amount=10_000_000, rate=1_000_000.0)
    # The key is given below; a header that is wrong on purpose would only be replaced by it.
    config = SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})
    with one_transaction():
        yield schemathesis.openapi.from_wsgi("/v2/openapi.json", application, config=config)


def modes() -> Iterator[Any]:
    """Each operation with calls that fit the document, and with such that do not where there is a body or a query."""
    for _, _, operation in operations("v2"):
        name = operation["operationId"]
        yield pytest.param(name, GenerationMode.POSITIVE, id=f"{name}-right")
        if "requestBody" in operation or any(item["in"] == "query" for item in operation["parameters"]):
            yield pytest.param(name, GenerationMode.NEGATIVE, id=f"{name}-wrong")


@pytest.mark.property
@pytest.mark.parametrize(("operation_id", "mode"), list(modes()))
def test_the_product_does_what_the_document_says(
    document: Any, acme: Customer, operation_id: str, mode: GenerationMode
) -> None:
    operation = document.find_operation_by_id(operation_id)
    excluded = [ignored_auth, positive_data_acceptance]
    if operation_id == "batchPredict":
        excluded.append(negative_data_rejection)  # What is wrong within one request is a problem within a good answer.

    @given(case=operation.as_strategy(generation_mode=mode))
    @examples(20, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True)
    def run(case: Any) -> None:
        # A model's own input schema decides beyond the document, so valid bodies may be refused with 422. Wrong keys
        # have tests of their own.
        # The client asks for gzip by default, but unpacks nothing that did not come over a network.
        case.headers.update(acme.auth | {"accept-encoding": "identity"})
        case.call_and_validate(excluded_checks=excluded)

    run()
