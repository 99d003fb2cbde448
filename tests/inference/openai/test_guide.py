"""``docs/openai.md``: every example runs, every kind has its row."""

from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from inference.openai import problems
from tests.conftest import Customer
from tests.support import guides, venvs
from tests.support.live_worker import LiveWorker

GUIDE = "openai.md"


@pytest.mark.django_db(transaction=True)
def test_every_example_works(
    acme: Customer, prices: None, live_worker: LiveWorker, live_server: LiveServer, tmp_path: Path
) -> None:
    assert "pip install openai\n" in guides.text_of(GUIDE)
    programs = venvs.of(tmp_path / "venv", "openai")
    environ = {"BASE_URL": live_server.url, "API_KEY": acme.secret}
    printed = [guides.run(language, code, environ, programs=programs) for language, code, _ in guides.blocks(GUIDE)]
    assert len(printed) == 3
    assert printed[0].startswith("minilm@1.0.0 2 384 ")
    assert '"object":"embedding"' in printed[1]
    assert printed[2].startswith("['minilm'] ")


def test_every_kind_has_its_row() -> None:
    rows = guides.table(GUIDE, "kind")
    assert [row[:3] for row in rows] == [[kind, str(wire.status), wire.type] for kind, wire in problems.TABLE.items()]
    assert [row[3].partition(";")[0] for row in rows] == [wire.code for wire in problems.TABLE.values()]


def test_the_exceptions_are_those_of_the_client() -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(api_key="none", base_url="http://localhost/openai/v1")
    httpx = pytest.importorskip(type(client._client).__mro__[-2].__module__.partition(".")[0])
    for row in guides.table(GUIDE, "kind"):
        response = httpx.Response(int(row[1]), request=httpx.Request("POST", "http://localhost"))
        assert type(client._make_status_error("why", body={}, response=response)).__name__ == row[4]
