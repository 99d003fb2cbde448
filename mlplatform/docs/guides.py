"""The guides: ``docs/*.md`` of the repository, as pages below ``/docs`` in the order in which one reads them.

Links between them lead to their pages; those to other files of the repository lead to a page or a text of it where there is
one, and are plain text otherwise.
"""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from django.conf import settings

from mlplatform.lib import markdown
from mlplatform.lib.markdown import Page, Section

__all__ = ["FILES", "GROUPS", "Group", "Guide", "Section", "find", "page_of", "text_of"]


@dataclass(frozen=True, slots=True)
class Guide:
    """One document. ``source`` is its path in the repository, ``path`` its address."""

    source: str
    path: str
    title: str
    summary: str

    @property
    def slug(self) -> str:
        return self.path.removeprefix("/docs/")


@dataclass(frozen=True, slots=True)
class Group:
    """Guides for one kind of reader."""

    title: str
    guides: tuple[Guide, ...]


def _guide(name: str, title: str, summary: str) -> Guide:
    return Guide(f"docs/{name}.md", f"/docs/{name}", title, summary)


GROUPS: Final = (
    Group(
        "Start",
        (
            _guide("quickstart", "Quickstart", "A key, a first prediction, and what its headers tell"),
            _guide(
                "choosing-a-protocol", "Choosing a protocol", "REST, GraphQL, gRPC or a client that you have already"
            ),
            _guide("api", "The REST API on one page", "Predictions, batches, versions, limits, errors"),
            _guide("scopes", "Which key may do what", "Scopes, and keys for trusted documents alone"),
        ),
    ),
    Group(
        "Other ways in",
        (
            _guide("graphql", "GraphQL", "Sending a query, what it costs, what goes wrong"),
            _guide("graphql-schema", "The GraphQL schema", "What can be asked, by examples"),
            _guide("grpc", "gRPC", "Streams and batches over one connection"),
            _guide("open-inference-protocol", "Open Inference Protocol", "Clients of Triton and KServe, unchanged"),
            _guide("openai", "OpenAI's clients", "Embeddings with another base_url"),
        ),
    ),
    Group(
        "In use",
        (
            _guide("caching", "Caching", "Equal inputs are computed once, and cost less"),
            _guide("lifecycle", "How versions retire", "Announcement, deprecation, brownouts, sunset"),
            _guide("recommendations", "Recommendations", "For readers of your own, from what they like"),
            _guide("events", "Events", "What happened to a tenant, as rows"),
        ),
    ),
    Group(
        "Models",
        (
            _guide("serve-your-model", "Serve your model", "From a folder of weights to an API"),
            _guide("runtimes", "Runtimes", "Encoders, cross-encoders, images, tensors; precisions"),
            _guide("rollouts", "Rollouts", "Promotion, rollback, canary, shadow"),
            _guide("serving", "Batching and fair turns", "When a batch goes, and what is refused"),
        ),
    ),
    Group(
        "Running it",
        (
            _guide("settings", "Settings", "Every variable, on one page"),
            _guide("security", "Security", "What is trusted, what is not, and which wall holds it"),
            _guide("failures", "When a part fails", "The declared answer to each failure"),
            _guide("architecture", "Architecture", "Floors, processes, the path of a prediction"),
        ),
    ),
)
FILES: Final = {
    "docs/schema.graphql": "/docs/schema.graphql",
    "inference/grpc/protos/ml_inference.proto": "/docs/ml_inference.proto",
    "inference/grpc/protos/open_inference.proto": "/docs/open_inference.proto",
    "docs/examples/make_models.py": "/docs/examples/make_models.py",
}
"""Texts that guides refer to, as they are: their address by their path in the repository."""
_DECISIONS: Final = "docs/adr"


def find(slug: str) -> Guide | None:
    """The guide, or the decision (``adr/0001-…``), of an address below ``/docs/``."""
    return _by_slug().get(slug)


@cache
def page_of(guide: Guide) -> Page:
    """The document as HTML; read once."""
    folder = posixpath.dirname(guide.source)
    text = (settings.BASE_DIR / guide.source).read_text()
    return markdown.page(text, address_of=lambda link: _address(link, folder=folder))


def text_of(path: str) -> str | None:
    """The text that stands at an address, such as ``/docs/schema.graphql``."""
    source = next((source for source, address in FILES.items() if address == path), None)
    return (settings.BASE_DIR / source).read_text() if source is not None else None


def _address(link: str, *, folder: str) -> str:
    """Where a link of a document leads here; empty where there is nothing."""
    if "://" in link or link.startswith(("#", "mailto:", "/")):
        return link
    target, hash_, anchor = link.partition("#")
    source = posixpath.normpath(posixpath.join(folder, target))
    path = FILES.get(source) or _by_source().get(source, "")
    return path + hash_ + anchor if path else ""


@cache
def _by_slug() -> dict[str, Guide]:
    return {guide.slug: guide for guide in _all()}


@cache
def _by_source() -> dict[str, str]:
    return {guide.source: guide.path for guide in _all()} | {"README.md": "/docs"}


def _all() -> Iterator[Guide]:
    for group in GROUPS:
        yield from group.guides
    for file in sorted((settings.BASE_DIR / _DECISIONS).glob("*.md")):
        title = file.read_text().partition("\n")[0].removeprefix("# ")
        yield Guide(f"{_DECISIONS}/{file.name}", f"/docs/adr/{file.stem}", title, "")
