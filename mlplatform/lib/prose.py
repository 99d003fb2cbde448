"""Sentences of the API, whose `code` stands between backticks, on pages."""

import re
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

_CODE: Final = re.compile(r"`([^`]+)`")


def html(text: str) -> SafeString:
    """Escaped, with an element for each code."""
    parts = enumerate(_CODE.split(text))
    return format_html_join("", "{}", ((_code(part) if at % 2 else part,) for at, part in parts))


def plain(text: str) -> str:
    """The same where no element can stand, as on the pointer."""
    return _CODE.sub(r"\1", text)


def _code(text: str) -> SafeString:
    return format_html('<code class="p-code p-wrap">{}</code>', text)
