"""What a page of the admin calls itself, and how it writes moments."""

import re
from dataclasses import dataclass
from html import unescape
from typing import Final

from django.test import RequestFactory

from mlplatform.admin_navigation import navigation
from tenants.models import User

_ISO_OR_AMERICAN: Final = re.compile(
    r"\b20\d\d-\d\d-\d\d\b|\b[A-Z][a-z]{2,3}\. \d{1,2}, 20\d\d|\b\d{1,2}(?::\d\d)? [ap]\.m\."
)
_NOT_READ: Final = re.compile(r"<(script|style|textarea|pre|code|option)\b.*?</\1>", re.DOTALL)
START: Final = "/admin/"


@dataclass(frozen=True)
class Named:
    """The parts of the breadcrumbs, and the title of the browser's tab."""

    crumbs: list[str]
    tab: str


def named(html: str) -> Named:
    heading, tab = re.search(r"<h1.*?</h1>", html, re.DOTALL), re.search(r"<title>(.*?)</title>", html, re.DOTALL)
    assert heading
    assert tab
    # Between parts stands an icon; behind the name of a list, the number of its rows.
    parts = re.sub(r'<span class="(?:material|font-medium).*?</span>', "|", heading[0], flags=re.DOTALL)
    return Named([text for part in re.sub(r"<[^>]+>", "|", parts).split("|") if (text := _words(part))], _words(tab[1]))


def names_in_sidebar(user: User) -> dict[str, str]:
    """The name of each entry by its address; of two entries of one list the first."""
    request = RequestFactory().get(START)
    request.user = user
    entries = [entry for group in navigation(request) for entry in group["items"]]
    return {entry["link"].partition("?")[0]: entry["title"] for entry in reversed(entries)}


def has_one_name(address: str, page: Named, sidebar: dict[str, str]) -> bool:
    """Whether an entry of the sidebar is called the same on its page; and any other page stands below its list's name, and has
    a name of its own that its tab says too."""
    path = address.partition("?")[0]
    if path in sidebar:
        return page.crumbs[-1] == sidebar[path] and page.tab.startswith(f"{sidebar[path]} |")
    above = [name for entry, name in sidebar.items() if path.startswith(entry) and entry != START]
    return len(page.crumbs) > 1 and page.crumbs[0] in above and page.crumbs[-1].lower() in page.tab.lower()


def strange_moments(html: str) -> list[str]:
    """Moments that are not written as ``28 Nov 2026, 16:46 UTC``, with what stands around them."""
    text = _words(_NOT_READ.sub(" ", html.partition("<body")[2]))
    return [text[max(0, found.start() - 40) : found.end() + 10] for found in _ISO_OR_AMERICAN.finditer(text)]


def _words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())
