"""Frameworks over OpenAI's clients: LangChain unchanged, the others as the requests that they send."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_django.live_server_helper import LiveServer

from tests.conftest import Customer
from tests.support import clients, ledger
from tests.support.live_worker import LiveWorker

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
