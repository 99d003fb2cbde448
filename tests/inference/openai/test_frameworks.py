"""Frameworks over OpenAI's clients: LangChain unchanged, the others as the requests that they send."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_django.live_server_helper import LiveServer

from tests.conftest import Customer
from tests.support import clients, ledger
from tests.support.live_worker import LiveWorker
from tests.support.rest import Api

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("prices")]

LANGCHAIN = Path(__file__).with_name("langchain_client.py")
CAT, DOG = "A cat sits on the mat.", "A dog runs through the park."


def langchain(server: LiveServer, customer: Customer, *calls: Any) -> Any:
    return clients.run(LANGCHAIN, f"{server.url}/openai/v1", customer.secret, calls=calls)


@clients.needs_clients
def test_langchain(acme: Customer, live_server: LiveServer, live_worker: LiveWorker) -> None:
    documents, query, empty = langchain(live_server, acme, [CAT, DOG], CAT, [CAT, ""])
    assert [len(vector) for vector in documents] == [384, 384]
    assert np.allclose(query, documents[0])
    assert empty["type"] == "BadRequestError"
    assert "The text is empty." in empty["error"]
    assert {record.body["api_version"] for record in ledger.records(acme.tenant)} == {"openai"}


MANY = [f"Text number {number} of many." for number in range(300)]
# Captured from the clients themselves: what each sends, beside its headers, for a list of texts and for one.
REQUESTS: dict[str, dict[str, Any]] = {
    "llama-index 0.14, a list": {"model": "minilm", "input": MANY, "encoding_format": "base64"},
    "llama-index 0.14, a query": {"model": "minilm", "input": [CAT], "encoding_format": "base64"},
    "litellm 1.110, a list": {"model": "minilm", "input": MANY},
    "litellm 1.110, one text": {"model": "minilm", "input": CAT, "user": "u", "encoding_format": "float"},
    "litellm's older ones": {"model": "minilm", "input": MANY, "encoding_format": None, "user": None},
    "ai 6, embedMany": {"model": "minilm", "input": MANY, "encoding_format": "float"},
    "openai for node 6": {"model": "minilm", "input": MANY, "encoding_format": "base64"},
}


@clients.needs_clients
def test_langchain_with_many_texts(acme: Customer, live_server: LiveServer, live_worker: LiveWorker) -> None:
    """It sends up to 1,000 in one call."""
    vectors, one = langchain(live_server, acme, MANY, MANY[299])
    assert [len(vector) for vector in vectors] == [384] * 300
    assert np.allclose(one, vectors[299], atol=1e-5)
    assert ledger.units(acme.tenant) == 350, "the last one comes from the cache"


@pytest.mark.parametrize("client", REQUESTS)
def test_the_requests_of_other_clients(acme: Customer, live_worker: LiveWorker, client: str) -> None:
    body = REQUESTS[client]
    answer = Api(acme).post("/openai/v1/embeddings", body, headers={"accept": "*/*"}).body
    count = 1 if isinstance(body["input"], str) else len(body["input"])
    assert [item["index"] for item in answer["data"]] == list(range(count))
    assert answer["usage"]["total_tokens"] == ledger.units(acme.tenant) == count + (50 if count > 1 else 0)
    assert isinstance(answer["data"][0]["embedding"], str) == (body.get("encoding_format") == "base64")
