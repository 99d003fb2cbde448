"""``README.md`` and ``docs/graphql.md``: their calls, from an environment with nothing but the standard library."""

import json
import re
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from tests.conftest import Customer
from tests.support import guides, venvs
from tests.support.live_worker import LiveWorker, demo_models, live_worker
from tests.support.suite import ROOT

__all__ = ["demo_models", "live_worker"]

pytestmark = pytest.mark.django_db(transaction=True)

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def curls(text: str) -> list[str]:
    """The calls with curl in the ``sh`` blocks of a document, each with its continuation lines."""
    blocks = [code for language, code in _BLOCK.findall(text) if language == "sh"]
    return [call for code in blocks for call in re.findall(r"^curl (?:.*\\\n|.*'\{.*[^']\n)*.*$", code, re.MULTILINE)]


def test_the_calls_work(
    acme: Customer, prices: None, live_worker: LiveWorker, live_server: LiveServer, tmp_path: Path
) -> None:
    programs = venvs.of(tmp_path / "venv")
    readme, graphql = (Path(ROOT) / "README.md").read_text(), guides.text_of("graphql.md")
    answers = []
    for call in [*curls(readme), *curls(graphql)]:
        here = re.sub(r"http://127\.0\.0\.1:8000|https://api\.example\.com", live_server.url, call)
        answers.append(json.loads(guides.run("bash", here, {"KEY": acme.secret}, programs=programs)))
    rest, *over_graphql = answers
    assert (rest["model"], rest["predictions"][0]["label"]) == ("sentiment", "positive")
    labels = [answer["data"]["predict"]["predictions"][0]["label"] for answer in over_graphql]
    assert labels == ["positive", "positive"]

    (tmp_path / "var").mkdir()
    demo = {"base_url": live_server.url, "tenants": {"acme": {"api_key": acme.secret}}}
    (tmp_path / "var" / "demo.json").write_text(json.dumps(demo))
    (code,) = [code for language, code in _BLOCK.findall(readme) if language == "python"]
    printed = guides.run("python", code, {}, programs=programs, cwd=tmp_path).splitlines()
    assert [line.split()[0] for line in printed] == ["sentiment", "minilm"]
