"""Every page of the admin: one name in sidebar, breadcrumbs and the browser's tab, and moments in one way."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape

import pytest
from django.core.management import call_command
from django.test import Client, RequestFactory

from bench.pages import addresses, ledger, lists, world
from bench.pages.addresses import Page
from bench.pages.size import Size
from mlplatform.admin_navigation import navigation
from mlplatform.lib import clock
from tenants.models import User
from tests.support import staff

_TINY = Size(
    tenants=3, busy=1, busy_lines=3, usual=1, usual_lines=2, few_lines=1, days=2, records=30, models=3,
    extensions=2, brownouts=2, audited=10, end_users=5, items=5, likes=10,
)  # fmt: skip
_MOMENT = re.compile(r"\b20\d\d-\d\d-\d\d\b|\b[A-Z][a-z]{2,3}\. \d{1,2}, 20\d\d|\b\d{1,2}(?::\d\d)? [ap]\.m\.")
_TAB = re.compile(r"<title>(.*?)</title>", re.DOTALL)
_CODE = re.compile(r"<(script|style|textarea|pre|code|option)\b.*?</\1>", re.DOTALL)


@dataclass(frozen=True)
class Seen:
    """A page as a person sees it."""

    page: Page
    crumbs: list[str]
    tab: str
    text: str


@pytest.fixture
def pages(db: None) -> list[Seen]:
    call_command("sync_roles", verbosity=0)
    now = clock.now()
    made = world.make(_TINY, now=now)
    for part in (ledger.make, lists.audiences, lists.audit_log):
        part(_TINY, made, now=now)
    user = User.objects.get(email=world.STAFF)
    return list(_seen(staff.signed_in(user), addresses.pages(user)))


def _seen(client: Client, found: list[Page]) -> Iterator[Seen]:
    for page in found:
        if page.file:
            continue
        answer = client.get(page.address)
        assert answer.status_code == 200, page
        html = answer.content.decode()
        tab = _TAB.search(html)
        assert tab, page
        yield Seen(page, _crumbs(html), _words(tab[1]), _words(_CODE.sub(" ", html.partition("<body")[2])))


def _crumbs(html: str) -> list[str]:
    heading = re.search(r"<h1.*?</h1>", html, re.DOTALL)
    assert heading
    parts = re.sub(r'<span class="material.*?</span>', "|", heading[0], flags=re.DOTALL)
    # Of a list the number of its rows stands behind its name.
    parts = re.sub(r'<span class="font-medium.*?</span>', "|", parts, flags=re.DOTALL)
    return [text for part in re.sub(r"<[^>]+>", "|", parts).split("|") if (text := _words(part))]


def _words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def _sidebar() -> dict[str, str]:
    request = RequestFactory().get("/admin/")
    request.user = User.objects.get(email=world.STAFF)
    entries = [entry for group in navigation(request) for entry in group["items"]]
    return {entry["link"].partition("?")[0]: entry["title"] for entry in reversed(entries)}


def test_every_page_has_one_name_and_writes_moments_in_one_way(pages: list[Seen]) -> None:
    names = _sidebar()
    wrong_names: dict[str, tuple[object, ...]] = {}
    wrong_moments: dict[str, list[str]] = {}
    for seen in pages:
        path = seen.page.address.partition("?")[0]
        own = names.get(path)
        lists_above = [name for address, name in names.items() if path.startswith(address) and address != "/admin/"]
        if own and not (seen.crumbs[-1] == own and seen.tab.startswith(f"{own} |")):
            wrong_names[seen.page.address] = (own, seen.crumbs, seen.tab)
        elif not own and (not lists_above or seen.crumbs[0] not in lists_above):
            wrong_names[seen.page.address] = (lists_above, seen.crumbs, seen.tab)
        elif not own and seen.crumbs[-1].lower() not in seen.tab.lower():
            wrong_names[seen.page.address] = (seen.crumbs, seen.tab)
        found = sorted({seen.text[max(0, m.start() - 40) : m.end() + 10] for m in _MOMENT.finditer(seen.text)})
        if found:
            wrong_moments[seen.page.address] = found[:4]
    assert wrong_names == {}
    assert wrong_moments == {}
