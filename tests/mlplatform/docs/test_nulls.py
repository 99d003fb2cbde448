"""Null is absent: every optional field of every JSON body that the documents have, and every required one.

Each is sent as null and left out, from the same state, and the two answers must be equal.
"""

import copy
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.db import transaction

from mlplatform.docs import openapi
from tenants.models import Tenant
from tests.conftest import Customer, forget_everything
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.live_worker import LiveWorker, demo_models, live_worker
from tests.support.openapi_documents import inlined
from tests.support.rest import Answer, Api
from tests.support.walked_clock import published_at_once

__all__ = ["demo_models", "live_worker", "published_at_once"]

Place = tuple[str | int, ...]

BODIES: Final[dict[str, tuple[str, Any]]] = {
    "predictV1": ("/v1/predict", {"model": "sentiment", "input": "Fine."}),
    "predictV1_1": ("/v1.1/predict", {"model": "sentiment", "input": "Fine."}),
    "predict": ("/v2/predict", {"model": "sentiment", "input": "Fine.", "parameters": {"top_k": 1, "truncate": True}}),
    "predictAnyVersion": (
        "/predict",
        {"model": "sentiment", "input": "Fine.", "parameters": {"top_k": 1, "truncate": True}},
    ),
    "predictWithModel": (
        "/v2/models/sentiment/predict",
        {"model": "sentiment", "input": "Fine.", "parameters": {"top_k": 1, "truncate": True}},
    ),
    "batchPredict": (
        "/v2/batch-predict",
        {"requests": [{"model": "sentiment", "input": "Fine.", "parameters": {"top_k": 1, "truncate": True}}]},
    ),
    "upsertUsers": (
        "/v2/users",
        {"users": [{"external_id": "ada", "name": "Ada", "preferences": {"categories": ["maths"]}}]},
    ),
    "upsertItems": (
        "/v2/items",
        {"items": [{"external_id": "book", "title": "Notes", "description": "On it.", "categories": ["maths"]}]},
    ),
    "addLikes": ("/v2/likes", {"likes": [{"user_id": "ada", "item_id": "book"}]}),
    "updateModel": ("/v2/admin/update-model", {"model": "sentiment", "version": "2.0.0"}),
    "promoteVersion": ("/v2/models/sentiment/promote", {"version": "2.0.0"}),
    "startCanary": (
        "/v2/models/sentiment/canary",
        {"version": "2.0.0", "percent": 5, "max_error_rate": 0.5, "max_latency_ratio": 3, "min_calls": 7},
    ),
    "startShadow": ("/v2/models/sentiment/shadow", {"version": "2.0.0", "percent": 5}),
    "rehearseBrownout": ("/v2/deprecations/{id}/brownout", {"minutes": 5, "share": 100}),
}
_NOTHING_TO_SAY: Final = {"rollBack", "purgeModel", "retireVersion", "rehearseMigration"}
_VOLATILE: Final = ("id", "latency_ms", "request_id", "started_at", "starts_at", "ends_at")


def json_operations() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Id, schema of the JSON body, and components of each operation that takes one."""
    for version in openapi.VERSIONS:
        document = inlined(json.loads(openapi.document(version)))
        for item in document["paths"].values():
            for operation in item.values():
                content = operation.get("requestBody", {}).get("content", {}).get("application/json")
                if content is not None:
                    yield operation["operationId"], content["schema"], document["components"]["schemas"]


def places(schema: dict[str, Any], value: Any, components: dict[str, Any]) -> Iterator[tuple[Place, bool, bool]]:
    """Each field that the value has: its place, whether it must be there, and whether the schema lets it be null."""
    if "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        for branch in schema["anyOf"]:
            yield from places(branch, value, components)
    if isinstance(value, list) and "items" in schema:
        for place, needed, nullable in places(schema["items"], value[0], components):
            yield (0, *place), needed, nullable
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield (name,), name in schema.get("required", ()), admits_null(inner, components)
                for place, needed, nullable in places(inner, value[name], components):
                    yield (name, *place), needed, nullable


def admits_null(schema: dict[str, Any], components: dict[str, Any]) -> bool:
    if "$ref" in schema:
        return admits_null(components[schema["$ref"].rpartition("/")[2]], components)
    branches = schema.get("anyOf", ())
    return "null" in schema.get("type", ()) or any(admits_null(branch, components) for branch in branches)


CASES: Final = sorted(
    {
        (name, place, needed, nullable)
        for name, schema, components in json_operations()
        if name in BODIES
        for place, needed, nullable in places(schema, BODIES[name][1], components)
    },
    key=repr,
)


def with_null(body: Any, place: Place) -> Any:
    changed = copy.deepcopy(body)
    _holder(changed, place)[place[-1]] = None
    return changed


def without(body: Any, place: Place) -> Any:
    changed = copy.deepcopy(body)
    del _holder(changed, place)[place[-1]]
    return changed


def _holder(body: Any, place: Place) -> Any:
    for step in place[:-1]:
        body = body[step]
    return body


def lasting(value: Any) -> Any:
    """An answer without what differs from call to call."""
    if isinstance(value, dict):
        return {name: lasting(inner) for name, inner in value.items() if name not in _VOLATILE}
    return [lasting(inner) for inner in value] if isinstance(value, list) else value


def test_every_operation_with_a_body_is_here() -> None:
    """An operation that is added needs a body above, unless its body says nothing; each field stands in some body."""
    found = list(json_operations())
    assert {name for name, _, _ in found} == set(BODIES) | _NOTHING_TO_SAY
    for name, schema, components in found:
        if name in _NOTHING_TO_SAY:
            assert not components[schema["$ref"].rpartition("/")[2]]["properties"]
    optional = [case for case in CASES if not case[2]]
    assert len(optional) >= 20


def test_the_documents_say_null_of_what_is_optional_and_of_nothing_else() -> None:
    assert [case[:2] for case in CASES if case[2] == case[3]] == []


def test_no_component_of_a_call_is_one_of_an_answer() -> None:
    """Else an answer would say that its fields may be null, because a call's may."""
    for version in openapi.VERSIONS:
        document = inlined(json.loads(openapi.document(version)))
        calls, answers = set(), set()
        for item in document["paths"].values():
            for operation in item.values():
                calls |= components_in(operation.get("requestBody", {}), document)
                answers |= components_in(operation["responses"], document)
        assert calls & answers == set()


def components_in(part: Any, document: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting = [part]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            target = str(one.get("$ref", ""))
            name = target.removeprefix("#/components/schemas/")
            if name != target and name not in found:
                found.add(name)
                waiting.append(document["components"]["schemas"][name])
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return found


@pytest.fixture
def api(acme: Customer, prices: None, live_worker: LiveWorker, published_at_once: None) -> Api:
    Tenant.objects.filter(pk=acme.tenant.pk).update(operator=True, default_model="sentiment")
    return Api(acme)


def answered(api: Api, path: str, body: Any) -> Answer:
    """The answer, with all that the call did undone."""
    forget_everything()
    with transaction.atomic():
        answer = api.post(path, body)
        transaction.set_rollback(True)
    forget_everything()
    return answer


@pytest.mark.parametrize(("name", "place", "needed"), [case[:3] for case in CASES], ids=lambda value: str(value))
def test_null_is_absent(acme: Customer, api: Api, name: str, place: Place, needed: bool) -> None:
    path, body = BODIES[name]
    if "{id}" in path:
        path = path.replace("{id}", str(make_schedule().pk))
    # What it computes is computed before, so that both answers come from the cache.
    answered(api, path, without(body, place))
    absent, null = answered(api, path, without(body, place)), answered(api, path, with_null(body, place))
    assert (null.status, lasting(null.body)) == (absent.status, lasting(absent.body))
    if name == "addLikes":
        assert null.status == 422
    elif not needed:
        assert null.status < 300, null.body
    elif name == "batchPredict" and len(place) > 1:
        assert null.body["responses"][0]["field"] == "requests[0].input"
    else:
        assert null.status == 422
        assert null.body["field"] == "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)[1:]
        assert null.body["detail"] == f"The field {place[-1]!r} is missing."
    assert ledger.holds(acme.tenant) == 0
