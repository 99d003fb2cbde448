"""Markdown of staff: nothing in it can become markup, a script, or a link to where no link may lead."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.lib import markdown

PIECES = st.sampled_from(
    ["<script>", "</p>", "<img src=x onerror=y>", "[a](javascript:alert(1))", "![x](http://e.example/x.png)", "[[changes]]",
     "`code`", "# h", "\n\n", "\n", "- a", "<https://e.example>", "&lt;", "\"'", "[r]: data:text/html,x", "[r]", " ",
     "```", "|a|\n|-|\n|b|"]
)  # fmt: skip
ALLOWED = {
    "p", "h2", "h3", "h4", "h5", "h6", "a", "code", "pre", "em", "strong", "ul", "ol", "li", "blockquote", "hr", "br", "table",
    "thead", "tbody", "tr", "th", "td",
}  # fmt: skip


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes += attrs


@given(text=st.lists(PIECES | st.text(max_size=5), max_size=8).map("".join))
def test_nothing_but_harmless_markup_comes_out(text: str) -> None:
    tags = Tags()
    tags.feed(markdown.render(text))
    tags.feed(markdown.inline(text))
    assert tags.found <= ALLOWED
    assert {name for name, _ in tags.attributes} <= {"href", "title", "rel", "class", "start", "style"}
    for name, value in tags.attributes:
        if name == "href":
            assert re.match(r"https?:|mailto:|(?!//)[^:]*$|[^:]*[/?#]", value or ""), value


@pytest.mark.parametrize(
    "to", ["https://e.example/x", "http://e.example", "mailto:help@e.example", "/docs", "#part", "v2"]
)
def test_these_links_are_links(to: str) -> None:
    assert f'href="{to}"' in markdown.render(f"[here]({to})")


@pytest.mark.parametrize(
    "to",
    [
        "javascript:alert(1)", "JavaScript:alert(1)", "java&#115;cript:alert(1)", "data:text/html,x", "vbscript:x",
        "//e.example", "ftp://e.example", "file:///etc/passwd", "blob:x",
    ],
)  # fmt: skip
def test_these_are_not(to: str) -> None:
    assert "href" not in markdown.render(f"[here]({to})")


def test_a_backslash_does_not_stand_for_a_slash() -> None:
    assert 'href="/%5Ce.example"' in markdown.render("[here](/\\e.example)")


def test_links_to_elsewhere_tell_nothing_of_the_reader() -> None:
    assert 'rel="noreferrer nofollow"' in markdown.render("[x](https://e.example)")
    assert "rel=" not in markdown.render("[x](/docs)")


def test_headings_begin_below_the_pages_own() -> None:
    assert markdown.render("# A\n\n## B") == "<h2>A</h2>\n<h3>B</h3>\n"
    assert markdown.render("## A\n\n### B") == "<h2>A</h2>\n<h3>B</h3>\n"
    assert "<h6>" in markdown.render("# A\n\n###### B")


def test_a_paragraph_of_its_own_is_replaced_and_nothing_else() -> None:
    text = "See [[changes]].\n\n[[changes]]\n\n    [[changes]]\n\n`[[changes]]`\n\n[[other]]"
    rendered = markdown.render(text, blocks={"changes": "<table></table>"})
    assert rendered.count("<table></table>") == 1
    assert rendered.count("[[changes]]") == 3
    assert "[[other]]" in rendered
    assert markdown.places(text, ["changes", "samples"]) == {"changes"}


def test_a_document_has_a_title_sections_and_anchors_as_github_makes_them() -> None:
    text = "# The `title`\n\nText.\n\n## What a tenant may occupy\n\n### Keys & limits (v2)\n\n## Again\n\n## Again\n"
    page = markdown.page(text, address_of=lambda link: link)
    assert page.title == "The title"
    assert "<h1" not in page.html
    assert [section.anchor for section in page.sections] == ["what-a-tenant-may-occupy", "again", "again-1"]
    assert page.anchors == {"what-a-tenant-may-occupy", "keys--limits-v2", "again", "again-1"}
    assert '<h2 id="again-1">Again</h2>' in page.html


def test_links_of_a_document_lead_where_they_lead_here_or_are_text() -> None:
    text = "# T\n\n[a *guide*](api.md#x) and [a `file`](../secret.py), [out](https://e.example) [evil](javascript:alert(1))\n"
    page = markdown.page(
        text, address_of=lambda link: {"api.md#x": "/docs/api#x"}.get(link, link if "://" in link else "")
    )
    assert '<a href="/docs/api#x">a <em>guide</em></a> and a <code>file</code>,' in page.html
    assert '<a href="https://e.example" rel="noreferrer nofollow">out</a>' in page.html
    assert page.html.count("<a ") == 2


def test_a_document_without_a_title_is_none() -> None:
    with pytest.raises(ValueError, match="begins with its title"):
        markdown.page("Text.", address_of=str)
