"""``docs/recommendations.md``: every example runs and answers what stands below it, and its numbers are those of the code."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from inference.models import audience as kept
from inference.recommendations import audience, candidates, items, messages, recommendations
from inference.rest import audience_calls as rest
from tests.conftest import Customer
from tests.support import guides, venvs
from tests.support.live_worker import LiveWorker

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "recommendations.md"
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```\n(?:\n```json\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def shape(value: Any) -> Any:
    """The value without scores, which are examples."""
    if isinstance(value, dict):
        return {name: "score" if name == "score" else shape(item) for name, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else value


@pytest.mark.django_db(transaction=True)
def test_every_example_works(
    acme: Customer, prices: None, live_worker: LiveWorker, live_server: LiveServer, tmp_path: Path
) -> None:
    assert "`pip install requests`" in GUIDE.read_text()
    programs = venvs.of(tmp_path / "venv", "requests")
    environ = {"BASE_URL": live_server.url, "API_KEY": acme.secret}
    blocks = _BLOCK.findall(GUIDE.read_text())
    assert [language for language, _, _ in blocks] == ["bash"] * 4 + ["python"]
    for language, code, promise in blocks:
        said = guides.run(language, code, environ, programs=programs)
        if promise:
            assert shape(json.loads(said)) == shape(json.loads(promise))
        else:
            assert "shop-4 To the Moon and Back minilm@1.0.0" in said


def test_its_numbers_are_those_of_the_code() -> None:
    text = " ".join(GUIDE.read_text().split())
    for number in (
        f"up to {messages.MAX_USERS_A_CALL:,} users",
        f"up to {messages.MAX_LIKES_A_CALL:,} likes",
        f"{rest.DEFAULT_PAGE} at a time (`limit`, up to {rest.MAX_PAGE:,})",
        f"1 to {kept.MAX_ID} characters",
        f"`title` ({kept.MAX_TITLE} characters), a `description` ({kept.MAX_DESCRIPTION:,}) and up to {kept.MAX_CATEGORIES}",
        f"{items.MAX_ITEMS:,} items and {audience.MAX_USERS:,} users",
        f"more than {candidates.MAX_CANDIDATES:,}",
        f"at most {recommendations.MAX_INPUTS} inputs",
    ):
        assert number in text, number
