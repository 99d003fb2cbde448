"""A query parameter with an empty value is what the OpenAPI document says of it: valid there is accepted here."""

from collections.abc import Iterator
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import orjson
import pytest

from mlplatform.docs import openapi
from tests.conftest import Customer
from tests.support.openapi_documents import inlined
from tests.support.rest import Api
from tests.support.tiny_model import TinyWorker, make_version, tiny_worker

__all__ = ["tiny_worker"]

PLACES = {"external_id": "reader", "model": "tiny", "version": "1.0.0"}
BODIES: dict[str, Any] = {
    "/predict": {"model": "tiny", "input": "hello"},
    "/v2/predict": {"model": "tiny", "input": "hello"},
    "/v2/batch-predict": {"requests": [{"model": "tiny", "input": "hello"}]},
}


def empty_ones() -> Iterator[tuple[str, str, str]]:
    """Method, path and name of every optional query parameter that may be empty text by its schema."""
    for path, methods in inlined(orjson.loads(openapi.document("v2")))["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", ()) if isinstance(operation, dict) else ():
                if parameter["in"] == "query" and not parameter.get("required"):
                    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
                    if jsonschema.Draft202012Validator(parameter["schema"], format_checker=checker).is_valid(""):
                        yield method, path, parameter["name"]


def test_what_may_be_empty_by_the_document_may_be_empty(acme: Customer, prices: None, tiny_worker: TinyWorker) -> None:
    tiny_worker.serve(make_version("tiny"))
    api = Api(acme)
    assert api.post("/v2/users", {"users": [{"external_id": "reader"}]}).status == 200
    found = list(empty_ones())
    assert {name for _, _, name in found} >= {"cursor", "model"}
    for method, path, name in found:
        address = f"{path.format(**PLACES)}?{name}="
        answer = api.get(address) if method == "get" else api.post(address, BODIES[path])
        assert answer.status == 200, (method, address, answer.content)


@pytest.mark.parametrize("path", ["/v2/users", "/v2/items"])
def test_an_empty_cursor_is_the_first_page(acme: Customer, path: str) -> None:
    assert Api(acme).get(f"{path}?cursor=").body == Api(acme).get(path).body
