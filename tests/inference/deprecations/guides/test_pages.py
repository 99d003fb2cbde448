"""Migration guides: what the draft says, what the page shows, and that its commands are ones that a shell takes."""

import ast
import html
import json
import re
import shlex
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from inference import api_versions
from inference.api_versions.changes import AddedAnswerField, MovedAnswerField
from inference.deprecations.guides import pages as guide_pages
from inference.deprecations.guides import samples as guide_samples
from inference.deprecations.guides import written_calls
from inference.models import MLModel, ModelVersion, VersionState
from inference.registry import versions
from tests.support.examples import examples
from tests.support.live_worker import demo_models

__all__ = ["demo_models"]

API = "api_version"
MODEL = "model_version"


def text_of(page: guide_pages.GuidePage) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.html))


def code_blocks(page: guide_pages.GuidePage) -> list[str]:
    return [
        html.unescape(re.sub(r"<[^>]+>", "", block))
        for block in re.findall(r"<pre[^>]*>(.*?)</pre>", page.html, re.DOTALL)
    ]


@pytest.mark.parametrize(("old", "new"), [("v1", "v2"), ("v1.1", "v2"), ("v1", "v1.1")])
def test_a_draft_becomes_a_whole_page(old: str, new: str) -> None:
    draft = guide_pages.draft(kind=API, subject=old, successor=new)
    assert draft.count("[[changes]]") == draft.count("[[samples]]") == 1
    page = guide_pages.page(kind=API, subject=old, successor=new, guide_markdown=draft)
    assert page == guide_pages.page(kind=API, subject=old, successor=new), "without a text the draft is the guide"
    assert page.title == f"From {old} to {new}"
    assert "[[" not in page.html
    text = text_of(page)
    for change in api_versions.changes(old=old, new=new):
        assert change.summary.replace("`", "") in text
        assert change.after in text
    assert f"/{old}/predict" in text
    assert f"/{new}/predict" in text


def test_both_forms_stand_side_by_side(settings: Settings) -> None:
    settings.BASE_URL = "https://api.example"
    page = guide_pages.page(kind=API, subject="v1", successor="v2")
    old_curl, new_curl, old_answer, new_answer, old_python, new_python = code_blocks(page)
    assert shlex.split(old_curl)[:2] == ["curl", "https://api.example/v1/predict"]
    assert shlex.split(new_curl)[:2] == ["curl", "https://api.example/v2/predict"]
    assert json.loads(old_answer) == api_versions.example("v1").answer
    assert json.loads(new_answer) == api_versions.example("v2").answer
    assert 'answer["prediction"]' in old_python
    assert 'answer["predictions"][0]["label"]' in new_python
    assert 'answer["predictions"][0]["score"]' in new_python
    for program in (old_python, new_python):
        ast.parse(program)


def test_what_differs_is_marked() -> None:
    before, after = guide_samples.of_api_versions("v1", "v1.1")
    answer = guide_samples.samples(before, after, base_url="https://api.example")[1]
    assert [line.text.strip() for line in answer.new if line.differs] == [
        '"model_version": "1.0.0",',
        '"latency_ms": 8.4',
    ]
    assert not [line for line in answer.old if line.differs], "a comma at the end of a line is no difference"


def test_the_text_of_staff_has_the_last_word() -> None:
    text = "# Hello\n\n[[samples]]\n\nBye <script>alert(1)</script>"
    page = guide_pages.page(kind=API, subject="v1", successor="v2", guide_markdown=text)
    assert "<h2>Hello</h2>" in page.html
    assert "<script>" not in page.html
    assert "What to do" not in page.html
    assert page.html.index("curl") < page.html.index("Bye") < page.html.index("What changes"), "what it lacks is added"
    assert page.html.count("The call with curl") == 1


@pytest.mark.parametrize(("old", "new"), [("v2", "v1"), ("v1", "v1"), ("v1", "v7"), ("v0", "v2")])
def test_there_is_no_guide_backwards(old: str, new: str) -> None:
    with pytest.raises(ValueError, match=r"API version|does not come after"):
        guide_pages.draft(kind=API, subject=old, successor=new)
    with pytest.raises(ValueError, match=r"API version|does not come after"):
        guide_pages.page(kind=API, subject=old, successor=new, guide_markdown="text")


# --- Commands ---------------------------------------------------------------------------------------------------------


def words_of(command: str) -> list[str]:
    """What a real shell hands to curl."""
    script = f'curl() {{ printf "%s\\0" "$@"; }}\n{command}'
    environ = {"API_KEY": "from the environment", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["sh", "-c", script], env=environ, capture_output=True, check=True, timeout=10)
    assert not done.stderr
    return done.stdout.decode().split("\0")[:-1]


@examples(30)
@given(
    body=st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.lists(st.text()), max_size=4),
    key=st.sampled_from(["YOUR_API_KEY", "$API_KEY", "it's a `key` with $(traps)"]),
)
def test_a_shell_takes_the_command_as_it_stands(body: dict[str, Any], key: str) -> None:
    command = guide_pages.curl(api_version="v2", body=body, base_url="https://api.example", key=key)
    words = words_of(command)
    path = "batch-predict" if "requests" in body else "predict"
    bearer = key.replace("$API_KEY", "from the environment")
    assert words[:-1] == [
        f"https://api.example/v2/{path}",
        *("-H", f"Authorization: Bearer {bearer}"),
        *("-H", "Content-Type: application/json"),
        "--data-raw",
    ]
    assert json.loads(words[-1]) == body


def test_a_field_is_followed_through_several_moves() -> None:
    moves = [
        MovedAnswerField("a", "list[0].b", summary=""),
        AddedAnswerField("x", summary=""),
        MovedAnswerField("list", "result.items", summary=""),
        MovedAnswerField("lis", "nothing", summary=""),
    ]
    assert guide_samples.traced("a", moves) == "result.items[0].b"
    assert guide_samples.traced("c", moves) == "c"


# --- Model versions ---------------------------------------------------------------------------------------------------


def test_a_guide_between_model_versions(demo_models: None) -> None:
    draft = guide_pages.draft(kind=MODEL, subject="sentiment@1.0.0", successor="sentiment@2.0.0")
    assert "`sentiment` alone" in draft
    page = guide_pages.page(kind=MODEL, subject="sentiment@1.0.0", successor="sentiment@2.0.0", guide_markdown=draft)
    text = text_of(page)
    for said in ("76.8%", "84.2%", "It takes the same inputs", '"model": "sentiment@2.0.0"'):
        assert said in text
    old_curl, new_curl, old_answer, new_answer, *_ = code_blocks(page)
    bodies = [json.loads(shlex.split(command)[-1]) for command in (old_curl, new_curl)]
    assert [body["model"] for body in bodies] == ["sentiment@1.0.0", "sentiment@2.0.0"]
    assert [json.loads(answer)["model_version"] for answer in (old_answer, new_answer)] == ["1.0.0", "2.0.0"]


def test_what_changed_between_model_versions_is_named(db: None) -> None:
    model = MLModel.objects.create(name="digits")
    shared: dict[str, Any] = {"model": model, "runtime": "tensor-classification", "sha256": "0" * 64}
    old = ModelVersion(version="1.0.0", labels=["0", "1"], input_schema={"kind": "tensor", "shape": [8, 8]}, **shared)
    new = ModelVersion(
        version="2.0.0", labels=["0", "2", "3"], input_schema={"kind": "tensor", "shape": [28, 28]}, **shared
    )
    for row in (old, new):
        row.output_schema = {"kind": "classification"}
        row.state = VersionState.RETIRED
        row.save()
    rows = guide_pages.changes(kind=MODEL, subject="digits@1.0.0", successor="digits@2.0.0")
    said = "\n".join(f"{row.before} > {row.after}: {row.summary}" for row in rows)
    assert "shape 8×8 > kind tensor, shape 28×28" in said.replace("kind tensor, shape 8×8", "shape 8×8")
    assert "new: 2, 3; no longer there: 1" in said
    assert "the same inputs" not in said
    page = guide_pages.page(kind=MODEL, subject="digits@1.0.0", successor="digits@2.0.0")
    assert "@request.json" in text_of(page), "an input of 784 numbers is no reading matter"
    with pytest.raises(Exception, match="no model"):
        versions.resolve("digits@1.0.0")


def test_an_embedding_is_shown_short(demo_models: None) -> None:
    row = ModelVersion.objects.get(model__name="minilm")
    ref = versions.reference(row)
    _, after = guide_samples.of_model_versions(ref, ref, api_version="v2")
    assert len(after.answer["embedding"]) == ref.outputs
    assert "predictions" not in after.answer
    assert f"… {ref.outputs - 3} more" in written_calls.pretty(after.answer)


def test_a_model_version_that_never_was_has_no_guide(demo_models: None) -> None:
    with pytest.raises(LookupError, match=r"sentiment@9\.0\.0"):
        guide_pages.draft(kind=MODEL, subject="sentiment@1.0.0", successor="sentiment@9.0.0")
