"""Every command in a document is run by a test, in the environment that the document says, or stands here with the reason."""

import re
from pathlib import Path
from typing import Final

from tests.support.suite import ROOT

_BLOCK: Final = re.compile(r"^```(sh|bash|shell|console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)

RUN_BY: Final = {
    ("README.md", "python"): "tests/mlplatform/docs/test_first_calls.py",
    ("docs/api.md", "bash"): "tests/mlplatform/docs/test_api_guide.py",
    ("docs/api.md", "python"): "tests/mlplatform/docs/test_api_guide.py",
    ("docs/quickstart.md", "bash"): "tests/mlplatform/docs/test_api_guide.py",
    ("docs/quickstart.md", "python"): "tests/mlplatform/docs/test_api_guide.py",
    ("docs/grpc.md", "python"): "tests/inference/grpc/test_guide.py",
    ("docs/open-inference-protocol.md", "bash"): "tests/inference/oip/test_guide.py",
    ("docs/open-inference-protocol.md", "python"): "tests/inference/oip/test_guide.py",
    ("docs/openai.md", "bash"): "tests/inference/openai/test_guide.py",
    ("docs/openai.md", "python"): "tests/inference/openai/test_guide.py",
    ("docs/recommendations.md", "bash"): "tests/inference/recommendations/test_guide.py",
    ("docs/recommendations.md", "python"): "tests/inference/recommendations/test_guide.py",
    ("docs/serve-your-model.md", "bash"): "tests/processes/test_serve_your_model.py",
}
"""All blocks of a language in a document, and the test that runs every one of them."""

FIRST_CALLS: Final = (
    "tests/mlplatform/docs/test_first_calls.py runs its calls with curl; grpcurl is in no package of ours"
)
_EXPORTS: Final = "placeholders for the reader's own address and key; the test of the document sets them"
BY_FIRST_LINE: Final = {
    ("README.md", "make run"): "tests/run starts what it starts; `make test` is this suite",
    ("README.md", "curl http"): FIRST_CALLS,
    ("README.md", "grpcurl -plaintext"): FIRST_CALLS,
    ("docs/graphql.md", "curl -s"): FIRST_CALLS,
    ("docs/api.md", "export BASE_URL="): _EXPORTS,
    ("docs/quickstart.md", "export BASE_URL="): _EXPORTS,
    ("docs/grpc.md", "export GRPC_TARGET="): _EXPORTS,
    (
        "docs/grpc.md",
        "grpcurl -plaintext",
    ): "grpcurl is in no package of ours; tests/inference/grpc asks the same by reflection",
    ("docs/grpc.md", "pip install grpcio"): "tests/inference/grpc/test_guide.py runs protoc in an environment of these",
    ("docs/open-inference-protocol.md", "export BASE_URL="): _EXPORTS,
    ("docs/openai.md", "export BASE_URL="): _EXPORTS,
    (
        "docs/openai.md",
        "pip install openai",
    ): "tests/inference/openai/test_guide.py runs the page in an environment of this",
    ("docs/recommendations.md", "export BASE_URL="): _EXPORTS,
}
"""Blocks that no test runs as they stand, by how they begin, with the reason."""


def blocks() -> list[tuple[str, str, str]]:
    """Document, language and code of every block of commands."""
    root = Path(ROOT)
    documents = [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]
    return [
        (str(path.relative_to(root)), language, code)
        for path in documents
        for language, code in _BLOCK.findall(path.read_text())
    ]


def test_every_block_is_run_or_has_a_reason() -> None:
    unused = {*RUN_BY, *BY_FIRST_LINE}
    for document, language, code in blocks():
        place = next(
            (place for place in BY_FIRST_LINE if place[0] == document and code.startswith(place[1])),
            (document, language),
        )
        assert place in {**RUN_BY, **BY_FIRST_LINE}, f"{document}: nothing runs this block:\n{code}"
        unused.discard(place)
    assert unused == set(), "these blocks are gone"


def test_the_tests_that_run_them_know_the_document() -> None:
    for (document, _), test in RUN_BY.items():
        assert Path(document).name in (Path(ROOT) / test).read_text()


_NAMED: Final = re.compile(r"`((?:mlplatform|tenants|billing|inference|tests|bench|docs|templates)/[\w./-]+)")


def test_every_file_and_folder_that_a_document_names_is_there() -> None:
    """But decisions of the past may name what was there then."""
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    named = {(path.name, place) for path in documents for place in _NAMED.findall(path.read_text())}
    assert len(named) > 100
    assert sorted((name, place) for name, place in named if not (ROOT / place).exists()) == []
