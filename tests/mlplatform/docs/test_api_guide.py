"""``docs/quickstart.md`` and ``docs/api.md``: every command in them runs, and answers what stands below it."""

import json
import re
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from tests.conftest import Customer
from tests.support import guides, venvs
from tests.support.live_worker import LiveWorker, demo_models, live_worker

__all__ = ["demo_models", "live_worker"]

pytestmark = pytest.mark.django_db(transaction=True)

DOCS = Path(__file__).resolve().parents[3] / "docs"
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```\n(?:\n```json\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("guide", "least", "answers"), [("quickstart", 5, 0), ("api", 10, 3)])
def test_every_command_of_the_guide_works(
    acme: Customer,
    prices: None,
    live_worker: LiveWorker,
    live_server: LiveServer,
    tmp_path: Path,
    guide: str,
    least: int,
    answers: int,
) -> None:
    programs = venvs.of(tmp_path / "venv")  # nothing but the standard library
    environ = {"BASE_URL": live_server.url, "API_KEY": acme.secret}
    blocks = _BLOCK.findall((DOCS / f"{guide}.md").read_text())
    assert len(blocks) >= least
    promised = 0
    for language, code, promise in blocks:
        output = guides.run(language, code, environ, programs=programs)
        assert output.strip(), code
        if promise:
            promised += 1
            answer, expected = json.loads(output), json.loads(promise)
            assert list(answer) == list(expected), code
            for name in ("model", "model_version", "prediction", "type", "title", "status", "detail", "field"):
                assert answer.get(name) == expected.get(name), code
        elif '"status":4' in output or '"status":5' in output:
            assert "no-such-model" in code, output
    assert promised == answers
