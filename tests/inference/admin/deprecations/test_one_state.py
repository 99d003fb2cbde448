"""What ends has one state at a moment, on every page and face that says one."""

import pytest
from django.test import Client

from mlplatform.lib import clock
from tenants.deprecations import catalogue
from tenants.models import ApiVersion
from tests.conftest import Customer
from tests.support import staff
from tests.support.impacted import DAY, make_schedule, use
from tests.support.rest import Api

SCHEDULES = "/admin/tenants/deprecationschedule/"


@pytest.mark.parametrize(
    ("days", "state", "guide"),
    [
        (1, "announced", "will be deprecated on"),
        (40, "deprecated", "is deprecated and ends on"),
        (400, "sunset", "calls get 410 Gone"),
    ],
)
def test_v1_is_in_one_state_everywhere(
    acme: Customer, monkeypatch: pytest.MonkeyPatch, days: int, state: str, guide: str
) -> None:
    begun = clock.now()
    schedule = make_schedule(announce_at=begun, deprecate_at=begun + 30 * DAY, sunset_at=begun + 230 * DAY)
    monkeypatch.setattr(clock, "now", lambda: begun + days * DAY)
    use(acme.tenant)
    catalogue.forget()
    admin = staff.signed_in(staff.superuser())
    version = ApiVersion.objects.get(name="v1")
    badges = {
        page: _badge_of(admin, page)
        for page in (
            f"{SCHEDULES}{schedule.pk}/change/",
            f"{SCHEDULES}{schedule.pk}/impact/",
            f"/admin/tenants/apiversion/{version.pk}/change/",
        )
    }
    assert set(badges.values()) == {state.title()}, badges
    rows = {page: _row(admin, page, "v1") for page in (SCHEDULES, "/admin/tenants/apiversion/")}
    assert all(f">{state.title()}<" in "".join(row.split()) for row in rows.values()), rows
    (line,) = [
        one for one in admin.get(f"{SCHEDULES}timeline/").context["api_versions"] if one["line"].entry.subject == "v1"
    ]
    assert line["line"].entry.state == state
    (told,) = Api(acme).get("/v2/deprecations").body["deprecations"]
    assert told["state"] == state
    assert guide in Client().get("/docs/migrate/v1-v2").content.decode()


_WORDS = ("Announced", "Deprecated", "Sunset", "Active", "Planned", "Preview")


def _badge_of(admin: Client, page: str) -> str:
    """The first state that the page's content says in a badge."""
    content = "".join(admin.get(page).content.decode().split())
    return min((content.find(f">{word}</"), word) for word in _WORDS if f">{word}</" in content)[1]


def _row(admin: Client, page: str, name: str) -> str:
    html = admin.get(page).content.decode()
    return next(row for row in html.split("<tr")[1:] if f">{name}<" in "".join(row.split()))
