"""Every page of the admin on a small world with the shape of a large one: it answers, within its bounds of queries and size, has
one name in sidebar, breadcrumbs and tab, and writes moments in one way.

How long pages take on the whole of it is measured by ``make bench pages``.
"""

import re
from typing import Final

import pytest
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from bench.pages import addresses, ledger, lists, world
from bench.pages.size import Size
from bench.scenarios.pages import MOST_KB, MOST_QUERIES
from mlplatform.lib import clock
from tenants.models import User
from tests.support import admin_pages, staff

_SMALL: Final = Size(
    tenants=60, busy=2, busy_lines=10, usual=5, usual_lines=5, few_lines=2, days=3, records=1000, models=21,
    extensions=40, brownouts=30, audited=120, end_users=120, items=120, likes=500,
)  # fmt: skip


@pytest.fixture
def busy(db: None) -> User:
    """A member of staff of an installation with more rows of each kind than a page has."""
    call_command("sync_roles", verbosity=0)
    now = clock.now()
    made = world.make(_SMALL, now=now)
    for part in (ledger.make, lists.audiences, lists.audit_log):
        part(_SMALL, made, now=now)
    return User.objects.get(email=world.STAFF)


def test_every_page_keeps_its_bounds_and_has_one_name_and_one_way_to_write_moments(busy: User) -> None:
    client = staff.signed_in(busy)
    # A process reads kinds of rows, schedules, models and prices once and keeps them in memory.
    ContentType.objects.get_for_models(*apps.get_models())
    client.get(reverse("admin:tenants_deprecationschedule_timeline"))
    too_many, too_large, backticks = {}, {}, []
    misnamed, moments = {}, {}
    sidebar = admin_pages.names_in_sidebar(busy)
    for page in addresses.pages(busy):
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(page.address)
        assert answer.status_code == 200, page
        kb = len(answer.getvalue()) / 1000
        if len(captured) > MOST_QUERIES:
            too_many[page.name] = [query["sql"][:100] for query in captured]
        if "`" in _words(answer.getvalue().decode()) and not page.file:
            backticks.append(page.name)
        if kb > MOST_KB and not page.file:
            too_large[page.name] = round(kb)
        if not page.file:
            html = answer.getvalue().decode()
            names = admin_pages.named(html)
            if not admin_pages.has_one_name(page.address, names, sidebar):
                misnamed[page.address] = names
            if strange := admin_pages.strange_moments(html):
                moments[page.address] = strange[:3]
    assert too_many == {}
    assert too_large == {}
    assert backticks == []
    assert misnamed == {}
    assert moments == {}


def _words(html: str) -> str:
    """What people read: texts and what the pointer shows, without scripts and what can be edited."""
    html = re.sub(r"<(script|style|textarea)\b.*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"<input\b[^>]*>", "", html)
