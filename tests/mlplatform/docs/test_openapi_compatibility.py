"""Within a major version no client breaks: the documents are compared with those of the last release.

``released/`` has the documents that customers hold. When a release is cut, copy the snapshots there; never before.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from mlplatform.docs import openapi
from tests.support.openapi_compatibility import incompatible

RELEASED: Final = Path(__file__).parent / "released"
GROWING: Final = {
    "Problem.type": "RFC 9457: a client treats a type that it does not know by its status, so there may be more.",
    "MyKey.scopes[]": "Scopes come with operations that need them; a client looks for those that it knows.",
    "ModelVersion.task": "A task comes with models of its own; a client of the others never meets it in an answer.",
    "Scores?": "What a model answers that scores candidates; only who calls such a model meets it.",
    "MyKey.pinned_api_version": "Which API versions there are is data; the key's owner pins it.",
}


def released(version: str = "v2") -> Any:
    return json.loads((RELEASED / f"{version}.json").read_text())


@pytest.mark.parametrize("version", openapi.VERSIONS)
def test_no_client_of_the_last_release_breaks(version: str) -> None:
    assert incompatible(released(version), json.loads(openapi.document(version)), growing=GROWING) == []


@pytest.mark.parametrize("version", openapi.VERSIONS)
def test_a_document_is_compatible_with_itself(version: str) -> None:
    assert incompatible(released(version), released(version)) == []
    # A release leaves no list of exceptions behind: each is still needed, or is to be deleted.
    found = incompatible(released("v2"), json.loads(openapi.document("v2")))
    places = {place.partition(":")[0] for place in found}
    forms = {place for place in places if f"{place.partition('.')[0]}?" in GROWING}
    assert (places - forms) | {f"{place.partition('.')[0]}?" for place in forms} == set(GROWING)


# --- Each rule, on a document that breaks it --------------------------------------------------------------------------

Change = Callable[[Any], object]
PREDICT: Final = "/v2/predict"


def post(document: Any, path: str = PREDICT) -> Any:
    return document["paths"][path]["post"]


def get(document: Any, path: str = "/v2/usage") -> Any:
    return document["paths"][path]["get"]


def schemas(document: Any) -> Any:
    return document["components"]["schemas"]


def fields(document: Any, schema: str) -> Any:
    return schemas(document)[schema]["properties"]


def parameter(document: Any, name: str) -> Any:
    return next(one for one in get(document)["parameters"] if one["name"] == name)


def answer(document: Any, status: str = "200") -> Any:
    return post(document)["responses"][status]


BREAKS: Final[dict[str, tuple[Change, str]]] = {
    "a path is gone": (lambda d: d["paths"].pop("/v2/me"), "GET /v2/me: the operation was removed"),
    "an operation is gone": (lambda d: d["paths"]["/v2/predict"].pop("post"), "POST /v2/predict: the operation was"),
    "an operation has another id": (lambda d: post(d).update(operationId="infer"), "the operationId changed"),
    "a way to authenticate is gone": (lambda d: post(d)["security"].pop(1), "the authentication apiKey was removed"),
    "a good status is gone": (lambda d: post(d)["responses"].pop("200"), "the status 200 was removed"),
    "a good status is new": (lambda d: post(d)["responses"].update({"202": answer(d)}), "the status 202 was added"),
    "a header of answers is gone": (
        lambda d: answer(d)["headers"].pop("RateLimit"),
        "the header RateLimit was removed",
    ),
    "an answer's type is gone": (
        lambda d: get(d)["responses"]["200"]["content"].pop("text/csv"),
        "the answer's type text/csv was removed",
    ),
    "a parameter is gone": (lambda d: get(d)["parameters"].remove(parameter(d, "by")), "query by: the parameter was"),
    "a parameter is required": (lambda d: parameter(d, "by").update(required=True), "query by: it became required"),
    "a new parameter is required": (
        lambda d: get(d)["parameters"].append({"in": "query", "name": "zone", "required": True, "schema": {}}),
        "query zone: it became required",
    ),
    "a parameter has fewer values": (
        lambda d: parameter(d, "format")["schema"]["enum"].remove("csv"),
        "query format: the value 'csv' is refused",
    ),
    "a parameter has a pattern": (
        lambda d: next(one for one in post(d)["parameters"] if one["name"] == "X-Request-Id")["schema"].update(
            pattern="^[0-9a-f]+$"
        ),
        "header X-Request-Id: pattern",
    ),
    "a body is needed": (
        lambda d: get(d).update(requestBody={"required": True, "content": {}}),
        "request body: it became required",
    ),
    "a body is not taken": (lambda d: post(d).pop("requestBody"), "the request body was removed"),
    "a request's type is gone": (
        lambda d: post(d)["requestBody"]["content"].pop("application/json"),
        "the request's type application/json was removed",
    ),
    "a request's field is required": (
        lambda d: schemas(d)["PredictRequest"]["required"].append("model"),
        "PredictRequest.model: it became required",
    ),
    "a request's new field is required": (
        lambda d: (
            fields(d, "PredictRequest").update(region={"type": "string"}),
            schemas(d)["PredictRequest"]["required"].append("region"),
        ),
        "PredictRequest.region: it became required",
    ),
    "a request's field is refused": (
        lambda d: fields(d, "PredictRequest").pop("parameters"),
        "PredictRequest.parameters: the field is refused",
    ),
    "a request takes fewer types": (
        lambda d: fields(d, "PredictRequest")["parameters"]["properties"]["top_k"].update(type="integer"),
        "PredictRequest.parameters.top_k: the types ['null']",
    ),
    "a request's number is smaller": (
        lambda d: fields(d, "PredictRequest")["parameters"]["properties"]["top_k"].update(maximum=10),
        "top_k: maximum is 1000 against 10",
    ),
    "a request's number is larger": (
        lambda d: fields(d, "PredictRequest")["parameters"]["properties"]["top_k"].update(minimum=2),
        "top_k: minimum is 1 against 2",
    ),
    "a request's text is shorter": (
        lambda d: fields(d, "PredictRequest")["model"].update(maxLength=5),
        "maxLength is 130",
    ),
    "a request's list is shorter": (
        lambda d: fields(d, "BatchRequest")["requests"].update(maxItems=2),
        "BatchRequest.requests: maxItems",
    ),
    "a request has a pattern": (
        lambda d: fields(d, "PredictRequest")["model"].update(pattern="^[a-z]+$"),
        "pattern is",
    ),
    "a request has a closed set": (
        lambda d: fields(d, "PredictRequest")["model"].update(enum=["sentiment"]),
        "PredictRequest.model: any value against a closed set",
    ),
    "a request has one form less": (lambda d: schemas(d)["Input"]["anyOf"].pop(1), "Input: "),
    "an answer's field is gone": (lambda d: fields(d, "Prediction").pop("cached"), "Prediction.cached: the field was"),
    "an answer's optional field is gone": (
        lambda d: fields(d, "Problem").pop("supported"),
        "Problem.supported: the field was removed",
    ),
    "an answer's field may be missing": (
        lambda d: schemas(d)["Prediction"]["required"].remove("id"),
        "Prediction.id: it is no longer always there",
    ),
    "an answer has more types": (
        lambda d: fields(d, "Prediction")["model_version"].update(type=["string", "null"]),
        "Prediction.model_version: the types ['null']",
    ),
    "an answer has fractions": (
        lambda d: fields(d, "Prediction")["usage"]["properties"]["units"].update(type="number"),
        "Prediction.usage.units: the types ['number']",
    ),
    "an answer has another form": (
        lambda d: schemas(d)["Prediction"]["oneOf"].append({"required": ["scores"]}),
        "Prediction",
    ),
    "an answer has a value more": (
        lambda d: fields(d, "ModelVersion")["state"]["enum"].append("warming"),
        "ModelVersion.state: the value 'warming' is new",
    ),
    "an answer is no closed set any more": (
        lambda d: fields(d, "ModelVersion")["state"].pop("enum"),
        "ModelVersion.state: any value against a closed set",
    ),
    "an answer's number has no bound": (
        lambda d: fields(d, "Prediction")["latency_ms"].pop("minimum"),
        "Prediction.latency_ms: minimum is not there against 0",
    ),
    "an answer's text has another format": (
        lambda d: fields(d, "Refusal")["refused_at"].update(format="date"),
        "Refusal.refused_at: format is date against date-time",
    ),
    "an answer's items have other types": (
        lambda d: fields(d, "Prediction")["embedding"]["items"].update(type="string"),
        "Prediction.embedding[]: the types ['string']",
    ),
    "a problem loses a field": (lambda d: fields(d, "Problem").pop("detail"), "Problem.detail: the field was removed"),
}


def test_it_looks_behind_references() -> None:
    """What the documents share is compared as if each operation wrote it out, as those of a release did."""
    new = json.loads(openapi.document("v2"))
    assert post(new)["responses"]["404"] == {"$ref": "#/components/responses/NotFoundOfEndingVersion"}
    del new["components"]["responses"]["NotFoundOfEndingVersion"]["headers"]["RateLimit"]
    del new["components"]["responses"]["TooManyAttempts"]["content"]["application/problem+json"]
    new["components"]["parameters"]["X-Request-Id"]["required"] = True
    found = incompatible(released(), new, growing=GROWING)
    assert "POST /v2/predict 404: the header RateLimit was removed" in found
    assert "GET /v2/me 429: the answer's type application/problem+json was removed" in found
    assert "GET /v2/me header X-Request-Id: it became required" in found


@pytest.mark.parametrize("name", list(BREAKS))
def test_it_finds(name: str) -> None:
    change, expected = BREAKS[name]
    old = released()
    new = copy.deepcopy(old)
    change(new)
    assert new != old, "the mutation does something"
    found = incompatible(old, new, growing=GROWING)
    assert any(expected in one for one in found), found


HARMLESS: Final[dict[str, Change]] = {
    "an operation more": lambda d: d["paths"].update({"/v2/new": d["paths"]["/v2/me"]}),
    "a parameter more": lambda d: get(d)["parameters"].append({"in": "query", "name": "zone", "schema": {}}),
    "a field more to send": lambda d: fields(d, "PredictRequest").update(region={"type": "string"}),
    "a field more to read": lambda d: fields(d, "Prediction").update(region={"type": "string"}),
    "a required field may be left out": lambda d: schemas(d)["BatchRequest"].update(required=[]),
    "an error status more": lambda d: post(d)["responses"].update({"418": answer(d, "404")}),
    "an error status less": lambda d: post(d)["responses"].pop("413"),
    "a value more to send": lambda d: parameter(d, "format")["schema"]["enum"].append("xml"),
    "an enum to send became a pattern": lambda d: parameter(d, "format").update(
        schema={"type": "string", "pattern": "^[a-z]+$"}
    ),
    "a value less to read": lambda d: fields(d, "ModelVersion")["state"]["enum"].pop(),
    "a type more to send": lambda d: fields(d, "PredictRequest")["model"].update(type=["string", "null"]),
    "a wider bound to send": lambda d: fields(d, "BatchRequest")["requests"].update(maxItems=10_000),
    "a narrower bound to read": lambda d: fields(d, "Prediction")["latency_ms"].update(maximum=60_000),
    "an integer where a number was": lambda d: fields(d, "Prediction")["latency_ms"].update(type="integer"),
    "a field that is now always there": lambda d: schemas(d)["Problem"]["required"].append("field"),
    "a deprecation": lambda d: post(d).update(deprecated=True),
    "one type or another in other words": lambda d: fields(d, "ModelVersion").update(
        accuracy={"type": ["number", "null"], "minimum": 0, "maximum": 1}
    ),
    "other words": lambda d: post(d).update(summary="Infer", description="Otherwise said."),
    "a place whose values always grew": lambda d: fields(d, "Problem")["type"]["enum"].append("/docs/problems#new"),
}


@pytest.mark.parametrize("name", list(HARMLESS))
def test_it_lets_pass(name: str) -> None:
    old = released()
    new = copy.deepcopy(old)
    HARMLESS[name](new)
    assert new != old
    assert incompatible(old, new, growing=GROWING) == []


def test_an_enum_must_fit_the_pattern_that_replaces_it() -> None:
    old = released()
    new = copy.deepcopy(old)
    parameter(new, "format")["schema"] = {"type": "string", "pattern": "^j"}
    assert incompatible(old, new) == ["GET /v2/usage query format: the value 'csv' is refused"]


def test_a_schema_that_names_itself_ends() -> None:
    old = released()
    fields(old, "Prediction")["parent"] = {"$ref": "#/components/schemas/Prediction"}
    new = copy.deepcopy(old)
    fields(new, "Prediction")["cached"]["type"] = "string"
    assert any("Prediction.cached" in one for one in incompatible(old, new))
    assert incompatible(old, old) == []
