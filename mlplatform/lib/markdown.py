"""Markdown as HTML for the public: no HTML of its own, no pictures, links only to where links may lead.

Staff write guides and announcements; the documents of the repository are pages of their own.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.token import Token

_SCHEMES: Final = frozenset({"http", "https", "mailto"})
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_TOP_HEADING: Final = 2


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 - the library's name
        """Only http, https, mailto, and addresses of this site; ``//host`` is one of another."""
        scheme = _SCHEME.match(url)
        if scheme is not None:
            return scheme[1].lower() in _SCHEMES
        return not url.startswith(("//", "/\\", "\\"))


_markdown: Final = _Markdown("commonmark", {"html": False}).enable("table").disable("image")


def render(text: str, *, blocks: Mapping[str, str] | None = None) -> SafeString:
    """The text as HTML whose highest heading is ``h2``.

    ``blocks`` are pieces of safe HTML by name: a paragraph that is only ``[[name]]`` is replaced by its piece.
    """
    tokens = _markdown.parse(text)
    _lower_headings(tokens)
    _mark_links(tokens)
    return _html(_with_blocks(tokens, blocks or {}))


def inline(text: str) -> SafeString:
    """One line of text as HTML: emphasis, code and links, no paragraph around it."""
    tokens = _markdown.parseInline(text)
    _mark_links(tokens)
    return _html(tokens)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of a page's second level; ``anchor`` is its id."""

    anchor: str
    title: str


@dataclass(frozen=True, slots=True)
class Page:
    """A document: its title, which the HTML has not, and what stands below it. ``anchors`` are the ids of all headings."""

    title: str
    html: SafeString
    sections: tuple[Section, ...]
    anchors: frozenset[str]


def page(text: str, *, address_of: Callable[[str], str]) -> Page:
    """A document whose first heading is its title.

    ``address_of`` gives where a link of it leads; one that leads nowhere (empty) becomes plain text.
    """
    tokens = _markdown.parse(text)
    title, tokens = _without_title(tokens)
    sections, anchors = _name_headings(tokens)
    for token in tokens:
        if token.children:
            token.children = _led(token.children, address_of)
        if token.type == "fence":
            token.attrSet("tabindex", "0")  # of its code, which scrolls
    _mark_links(tokens)
    html = (
        _html(tokens)
        .replace("<table>", '<div class="scroll" tabindex="0"><table>')
        .replace("</table>", "</table></div>")
    )
    return Page(title, SafeString(html), tuple(sections), frozenset(anchors))


def places(text: str, names: Sequence[str]) -> set[str]:
    """Which of the names have a paragraph ``[[name]]`` in the text."""
    return {name for name in names for token in _markdown.parse(text) if _is_place(token, name)}


def _html(tokens: list[Token]) -> SafeString:
    # The renderer escapes every text, and knows no HTML but its own and that of the blocks.
    return SafeString(_markdown.renderer.render(tokens, _markdown.options, {}))


def _without_title(tokens: list[Token]) -> tuple[str, list[Token]]:
    if len(tokens) < 3 or tokens[0].tag != "h1":
        raise ValueError("a document begins with its title")
    return _plain(tokens[1]), tokens[3:]


def _plain(token: Token) -> str:
    return "".join(child.content for child in token.children or () if child.type in {"text", "code_inline"})


def _name_headings(tokens: list[Token]) -> tuple[list[Section], set[str]]:
    """Give each heading the id that GitHub gives it."""
    sections: list[Section] = []
    anchors: set[str] = set()
    for token, inside in pairwise(tokens):
        if token.type == "heading_open":
            title = _plain(inside)
            plain = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            number = 0
            while (anchor := plain if not number else f"{plain}-{number}") in anchors:
                number += 1
            anchors.add(anchor)
            token.attrSet("id", anchor)
            if token.tag == "h2":
                sections.append(Section(anchor, title))
    return sections, anchors


def _led(children: list[Token], address_of: Callable[[str], str]) -> list[Token]:
    """The children with links to where they lead here."""
    result: list[Token] = []
    is_plain = False
    for child in children:
        if child.type == "link_open":
            address = address_of(str(child.attrs.get("href", "")))
            is_plain = not address
            child.attrSet("href", address)
        if not (is_plain and child.type in {"link_open", "link_close"}):
            result.append(child)
        if child.type == "link_close":
            is_plain = False
    return result


def _is_place(token: Token, name: str) -> bool:
    return token.type == "inline" and token.content.strip() == f"[[{name}]]"


def _with_blocks(tokens: list[Token], blocks: Mapping[str, str]) -> list[Token]:
    result: list[Token] = []
    skip = 0
    for index, token in enumerate(tokens):
        if skip:
            skip -= 1
            continue
        following = tokens[index + 1] if token.type == "paragraph_open" else None
        name = next((name for name in blocks if following is not None and _is_place(following, name)), None)
        if name is None:
            result.append(token)
        else:
            result.append(Token("html_block", "", 0, content=blocks[name]))
            skip = 2  # the paragraph's content and its end
    return result


def _lower_headings(tokens: list[Token]) -> None:
    """The page has a title of its own, so the text's headings begin below it, however they were written."""
    levels = [int(token.tag[1]) for token in tokens if token.type == "heading_open"]
    down = _TOP_HEADING - min(levels, default=_TOP_HEADING)
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + max(down, 0), 6)}"


def _mark_links(tokens: list[Token]) -> None:
    for token in tokens:
        for child in token.children or ():
            if child.type == "link_open" and _SCHEME.match(str(child.attrs.get("href", ""))):
                child.attrs["rel"] = "noreferrer nofollow"
