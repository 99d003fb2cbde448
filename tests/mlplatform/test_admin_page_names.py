"""A page has one name: in the sidebar, in the breadcrumbs and in the browser's tab. Rows are called as they are written."""

import re

import pytest
from django.test import Client

from tests.conftest import Customer
from tests.support import staff


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


def crumbs(page: str) -> list[str]:
    heading = re.search(r"<h1.*?</h1>", page, re.DOTALL)
    assert heading
    parts = re.sub(
        r"<span class=\"material.*?</span>|<span class=\"font-medium.*?</span>", "|", heading[0], flags=re.DOTALL
    )
    return [text for part in re.sub(r"<[^>]+>", "|", parts).split("|") if (text := " ".join(part.split()))]


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("tenants/user/{owner}/change/", ["People", "owner@acme.example"]),
        ("tenants/apikey/{key}/change/", ["API keys", "Production ({uid})"]),
        ("tenants/apikey/", ["API keys"]),
        ("tenants/tenant/{tenant}/change/", ["Tenants", "Acme"]),
        ("tenants/tenant/{tenant}/edit/", ["Tenants", "Acme"]),
        ("tenants/tenant/add/", ["Tenants", "New customer"]),
        ("tenants/apikey/{key}/secret/", ["API keys", "Production ({uid})", "Secret"]),
        ("tenants/user/?is_staff__exact=1", ["Staff"]),
        ("tenants/user/", ["People"]),
        ("auth/group/", ["Roles"]),
        ("auditlog/logentry/", ["Audit log"]),
        ("tenants/deprecationschedule/", ["Ends of versions"]),
        ("billing/usagerecord/find/", ["Usage records", "Find a call"]),
    ],
)
def test_breadcrumbs_name_pages_as_the_sidebar_does(
    admin: Client, acme: Customer, address: str, names: list[str]
) -> None:
    pks = {"tenant": acme.tenant.pk, "owner": acme.owner.pk, "key": acme.key.pk}
    page = admin.get(f"/admin/{address.format(**pks)}").content.decode()
    assert crumbs(page) == [name.format(uid=acme.key.uid) for name in names]
    tab = re.search(r"<title>(.*?)</title>", page, re.DOTALL)
    assert tab
    if len(names) == 1:
        assert " ".join(tab[1].split()).startswith(f"{names[0]} |")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("auditlog/logentry/?q=zzz", "No log entry has “zzz”."),
        ("tenants/tenant/?status__exact=suspended", "No tenant is left by these filters."),
        ("billing/usagerecord/", "Rows come by themselves; this list is to read."),
        ("inference/mlmodel/", "The first model will stand here."),
    ],
)
def test_an_empty_list_says_why_and_offers_only_what_can_be_done(
    admin: Client, acme: Customer, address: str, told: str
) -> None:
    page = " ".join(admin.get(f"/admin/{address}").content.decode().split())
    assert told in page.replace("&quot;", '"')
    assert "yielded" not in page
    assert ("Add model" in page) == ("mlmodel/" in address)
