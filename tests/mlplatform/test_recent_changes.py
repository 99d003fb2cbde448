"""What the start page says was changed last: a request is one line, and its link shows all that it wrote."""

from collections.abc import Callable, Iterator

import pytest
from auditlog.models import LogEntry
from django.test import Client

from mlplatform.lib import tracing
from tenants.models import ApiVersion
from tests.conftest import make_customer
from tests.support import staff

Asked = Callable[[str], None]


@pytest.fixture
def asked() -> Iterator[Asked]:
    """As if a request of this id were answered from now on."""
    yield tracing.enter_request
    tracing.enter_request("-")


@pytest.fixture
def admin(db: None, asked: Asked) -> Client:
    asked("-")
    return staff.signed_in(staff.superuser())


def test_a_request_is_one_line(admin: Client, asked: Asked) -> None:
    LogEntry.objects.all().delete()
    asked("one")
    make_customer("initech", audited=True)
    written = LogEntry.objects.filter(cid="one").count()
    asked("two")
    make_customer("umbrella", audited=True)
    umbrella, initech, *others = admin.get("/admin/").context["recent"]
    assert others == []
    assert written > 3
    assert "membership" in initech.others
    shown = admin.get(initech.link).context["cl"].result_list
    assert {entry.cid for entry in shown} == {"one"}
    assert len(shown) == written
    assert umbrella.at > initech.at
    assert umbrella.link != initech.link


def test_what_a_page_changes_is_named_with_its_author(admin: Client) -> None:
    row = ApiVersion.objects.get(name="v2")
    fields = {"released_at_0": "2026-11-01", "released_at_1": "00:00:00", "summary": "Changed."}
    assert admin.post(f"/admin/tenants/apiversion/{row.pk}/change/", fields).status_code == 302
    answer = admin.get("/admin/")
    line = answer.context["recent"][0]
    assert (line.what, line.by, line.others) == ("API version changed", "ada@staff.example", "")
    entry = LogEntry.objects.latest("pk")
    assert line.link == f"/admin/auditlog/logentry/{entry.pk}/change/"
    assert entry.cid


def test_what_no_request_wrote_stands_alone(admin: Client) -> None:
    LogEntry.objects.all().delete()
    for name in ("v1", "v2"):
        row = ApiVersion.objects.get(name=name)
        row.summary = "By a command."
        row.save()
    lines = admin.get("/admin/").context["recent"]
    assert [(line.by, line.others) for line in lines] == [("the system", "")] * 2
