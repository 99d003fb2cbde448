"""The guides: every document of ``docs/`` is a page, and every link in it leads somewhere."""

import re
from html import unescape

import pytest

from mlplatform.docs import guides
from mlplatform.docs.guides import Guide
from tests.mlplatform.docs.test_pages import BROWSER
from tests.support.rest import Api
from tests.support.suite import ROOT

DECISIONS = sorted(path.stem for path in (ROOT / "docs" / "adr").glob("*.md"))
SLUGS = [guide.slug for group in guides.GROUPS for guide in group.guides] + [f"adr/{name}" for name in DECISIONS]


def found(slug: str) -> Guide:
    guide = guides.find(slug)
    assert guide is not None, slug
    return guide


def test_every_document_is_a_page() -> None:
    sources = {f"docs/{path.relative_to(ROOT / 'docs')}" for path in (ROOT / "docs").rglob("*.md")}
    assert {found(slug).source for slug in SLUGS} == sources
    assert len(SLUGS) == len(set(SLUGS)) > 30


@pytest.mark.parametrize("slug", SLUGS)
def test_a_guide_is_whole_and_its_links_lead_somewhere(db: None, slug: str) -> None:
    guide = found(slug)
    answer = Api().get(guide.path)
    assert answer.status == 200
    html = answer.content.decode()
    text = (ROOT / guide.source).read_text()
    assert html.count("<h1") == 1
    assert html.count("<pre>") == len(re.findall(r"^```", text, re.MULTILINE)) // 2
    assert html.count('<div class="scroll" tabindex="0"><table>') == len(
        re.findall(r"^\|[ :|-]+\|$", text, re.MULTILINE)
    )
    assert "<script" not in html
    document = guides.page_of(guide)
    assert document.title
    for link in re.findall(r'<a href="([^"]+)"', document.html):
        path, _, anchor = unescape(link).partition("#")
        target = guides.find(path.removeprefix("/docs/")) if path else guide
        if target is not None:
            assert not anchor or anchor in guides.page_of(target).anchors, link
        elif "://" not in link:
            assert Api().get(path, headers=BROWSER).status in {200, 302}, link


def test_a_link_to_what_has_no_page_is_plain_text() -> None:
    html = guides.page_of(found("security")).html
    assert "SECURITY.md</p>" in html or "SECURITY.md." in html
    assert 'href="../' not in html
    assert 'href=""' not in html


@pytest.mark.parametrize(("source", "path"), guides.FILES.items())
def test_texts_that_guides_refer_to_are_served_as_they_are(source: str, path: str) -> None:
    answer = Api().get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.content == (ROOT / source).read_bytes()


@pytest.mark.parametrize(
    "slug", ["nope", "adr", "adr/nope", "../settings", "%2e%2e/README", "settings.md", "v3", "API"]
)
def test_nothing_else_is_served(slug: str) -> None:
    assert Api().get(f"/docs/{slug}").status == 404


def test_the_overview_leads_to_all_of_them(db: None) -> None:
    html = Api().get("/docs").content.decode()
    for group in guides.GROUPS:
        assert group.title in html
        for guide in group.guides:
            assert f'href="{guide.path}"' in html
    for path in ("/docs/v2", "/graphql", "/docs/ml_inference.proto", "/docs/schema.graphql", "/admin/"):
        assert f'href="{path}"' in html
