"""``docs/open-inference-protocol.md``: every example runs and prints what stands below it, every kind has its row."""

import json
import re
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from inference.grpc import statuses
from inference.oip import problems
from tests.conftest import Customer
from tests.support import guides, venvs
from tests.support.grpc import grpc_server, grpc_target
from tests.support.live_worker import LiveWorker

__all__ = ["grpc_server", "grpc_target"]

GUIDE = "open-inference-protocol.md"


@pytest.mark.django_db(transaction=True)
def test_every_example_works(
    acme: Customer, prices: None, live_worker: LiveWorker, live_server: LiveServer, grpc_target: str, tmp_path: Path
) -> None:
    installed = iter(re.findall(r"`pip install '(.*?)'`", guides.text_of(GUIDE)))
    environ = {"BASE_URL": live_server.url, "GRPC_TARGET": grpc_target, "API_KEY": acme.secret}
    printed: list[str] = []
    for language, code, promise in guides.blocks(GUIDE):
        needed = [next(installed)] if language == "python" else []
        programs = venvs.of(tmp_path / f"venv-{len(printed)}", *needed)
        output = guides.run(language, code, environ, programs=programs)
        assert output.strip(), code
        printed.append(output)
        if promise:
            answer, expected = json.loads(output), json.loads(promise)
            assert list(answer) == list(expected)
            for name in ("model_name", "model_version", "error"):
                assert answer.get(name) == expected.get(name)
            assert answer.get("outputs", [{}])[0] == expected.get("outputs", [{}])[0]
    assert len(printed) == 5
    assert list(installed) == []
    assert "positive" in printed[1]
    assert "1" in printed[2]


def test_every_kind_has_its_row() -> None:
    rows = guides.table(GUIDE, "kind")
    assert rows == [[kind, str(problems.TABLE[kind]), statuses.TABLE[kind].name] for kind in problems.TABLE]
