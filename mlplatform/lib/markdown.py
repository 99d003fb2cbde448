"""Markdown of staff as HTML for the public: no HTML of their own, no pictures, links only to where links may lead."""

import re
from collections.abc import Mapping, Sequence
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


def places(text: str, names: Sequence[str]) -> set[str]:
    """Which of the names have a paragraph ``[[name]]`` in the text."""
    return {name for name in names for token in _markdown.parse(text) if _is_place(token, name)}


def _html(tokens: list[Token]) -> SafeString:
    # The renderer escapes every text, and knows no HTML but its own and that of the blocks.
    return SafeString(_markdown.renderer.render(tokens, _markdown.options, {}))


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
