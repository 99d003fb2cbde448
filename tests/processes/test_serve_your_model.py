"""``docs/serve-your-model.md``: its commands, in their order, against the product as it runs."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from inference.registry.packages import card as cards
from inference.types import RuntimeName
from mlplatform.run.environment import ROOT
from tests.processes.conftest import Client
from tests.support import guides, venvs
from tests.support.stack import Stack

GUIDE = "serve-your-model.md"
KINDS = {
    "reviews": "text-classification",
    "meanings": "text-embedding",
    "replies": "pair-classification",
    "ranker": "pair-scoring",
    "colours": "image-classification",
    "shapes": "tensor-classification",
    "suggestions": "tensor-scoring",
    "echo": "tensor-echo",
}


def test_the_card_that_shows_everything_is_one() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```", guides.text_of(GUIDE), flags=re.MULTILINE | re.DOTALL)
    card = cards.read(text.encode())
    assert card.options == {"max_tokens": 256}
    assert {row[0] for row in guides.table(GUIDE, "runtime")} == set(RuntimeName.values()) == set(KINDS.values())


@pytest.mark.processes
def test_a_models_life_from_the_command_line(stack: Stack, client: Client, tmp_path: Path) -> None:
    programs = venvs.of_the_product(tmp_path / "venv")
    script = "\n".join(code for language, code, _ in guides.blocks(GUIDE) if language == "bash")
    script = script.replace("sleep 1\n", "sleep 3\n")  # The machine of a test is busy.
    environ = stack.environ | {
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "BASE_URL": f"http://127.0.0.1:{stack.webs[0].port}",
        "GRPC_TARGET": stack.grpc_target,
        "API_KEY": client.secret,
        "REDIS_TIMEOUT_S": "5",
    }
    with stack.private_worker():
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    said = done.stdout.splitlines()
    answers = _answers(said)
    for name, runtime in KINDS.items():
        assert f"  1.0.0  retired  {runtime}" in said
        assert {f"{name}@1.0.0 is live", f"{name}@1.1.0 is live", f"{name}@1.0.0 is retired"} <= set(said)
        assert any(line.startswith(f"{name}@1.0.0 is deprecated and ends at ") for line in said), name
        assert any(answer["model"] == name for answer in answers), name
        assert any(line.startswith(f"gRPC {name} ") for line in said), name
    assert any(line.startswith("float32, none: accuracy 1.0000, ") for line in said)
    (shapes,) = [body for body in _bodies(said) if body.get("name") == "shapes"]
    assert [(one["precision"], one["inputs"]) for one in shapes["versions"][-1]["measurements"]] == [
        ("float32", 2),
        ("int8", 2),
    ]
    headers = {"Authorization": f"Bearer {client.secret}"}
    for name in ("reviews", "ranker"):
        model = stack.webs[0].call("GET", f"/v2/models/{name}", headers=headers).body
        assert model["versions"][-1]["input"]["max_tokens"] == 64, "the worker that verified it knows its positions"
    retired = [body for body in _bodies(said) if body.get("state") == "retired"]
    assert [(body["model"], body["version"]) for body in retired] == [("my-shapes", "1.1.0")]
    best = {answer["model"]: answer["predictions"][0]["label"] for answer in answers if "predictions" in answer}
    assert {**best, "reviews": ""} == {
        "reviews": "",
        "replies": "friendly",
        "colours": "red",
        "shapes": "falling",
        "my-shapes": "falling",
    }
    reviews = [answer for answer in answers if answer["model"] == "reviews"]
    assert [(answer["model_version"], answer["predictions"][0]["label"]) for answer in reviews] == [
        ("1.0.0", "positive"),
        ("1.0.0", "negative"),
    ]
    (ended,) = [line for line in said if '"status":410' in line]
    assert "reviews@1.1.0" in ended
    assert stack.shell("versions", model="reviews") == {"1.0.0": "retired", "1.1.0": "live"}


def _answers(lines: list[str]) -> list[dict[str, Any]]:
    """The predictions among the lines."""
    return [body for body in _bodies(lines) if "model_version" in body]


def _bodies(lines: list[str]) -> list[dict[str, Any]]:
    """What REST answered, among the lines."""
    return [json.loads(line) for line in lines if line.startswith("{")]
