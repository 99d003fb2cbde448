"""What the portal shows of versions that end: to whom it concerns, more pressing the nearer it is."""

import pytest

from billing.models import VersionUse
from inference.deprecations.notices import sending as notices
from inference.deprecations.notices.banners import Banner, Severity, banners_of
from tenants.deprecations import schedules
from tests.conftest import Customer
from tests.inference.deprecations.notices.telling import DAY, MINUTE, NOW, tiny_ends, used, v1_ends
from tests.support.walked_clock import Walk, published_at_once, walk

__all__ = ["published_at_once", "walk"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("published_at_once")]

SUNSET = NOW + 230 * DAY


def only(customer: Customer) -> Banner:
    (banner,) = banners_of(tenant_id=customer.tenant.pk)
    return banner


def test_the_nearer_the_end_the_more_pressing(acme: Customer, walk: Walk) -> None:
    walk(NOW - MINUTE)
    v1_ends()
    assert banners_of(tenant_id=acme.tenant.pk) == [], "it is not announced yet"
    seen = []
    for moment in (NOW, SUNSET - 31 * DAY, SUNSET - 30 * DAY, SUNSET - 7 * DAY, SUNSET):
        walk(moment)
        used(acme)
        banner = only(acme)
        seen.append(banner.severity)
        assert banner.still_used
        assert (banner.sunset_at, banner.deprecated_at) == (SUNSET, NOW + 30 * DAY)
        assert banner.guide.endswith("/docs/migrate/v1-v2")
    assert seen == [Severity.INFO, Severity.INFO, Severity.WARNING, Severity.DANGER, Severity.DANGER]
    assert (banner.title, banner.text) == (
        "API version v1 ended on 22 August 2027",
        "Calls get 410 Gone. Use v2.",
    )
    walk(SUNSET + 31 * DAY)
    assert banners_of(tenant_id=acme.tenant.pk) == [], "who has moved is left in peace"


def test_who_does_not_use_it_is_informed_while_it_runs(acme: Customer, walk: Walk) -> None:
    walk(NOW)
    v1_ends()
    walk(SUNSET - DAY)
    banner = only(acme)
    assert (banner.severity, banner.still_used) == (Severity.INFO, False)
    assert "did not use it" in banner.text
    walk(SUNSET)
    assert banners_of(tenant_id=acme.tenant.pk) == []


def test_what_only_users_are_told_is_shown_to_them_alone(acme: Customer, globex: Customer, walk: Walk) -> None:
    walk(NOW)
    v1_ends(audience="users")
    used(acme)
    assert only(acme).still_used
    assert banners_of(tenant_id=globex.tenant.pk) == []


def test_an_extension_is_the_tenants_own_end(acme: Customer, globex: Customer, walk: Walk) -> None:
    walk(NOW)
    row = v1_ends()
    schedules.grant_extension(
        schedule=row, tenant=acme.tenant, until=SUNSET + 60 * DAY, reason="A long release.", approved_by=acme.owner
    )
    walk(SUNSET)
    used(acme)
    used(globex)
    assert (only(acme).severity, only(acme).sunset_at) == (Severity.INFO, SUNSET + 60 * DAY)
    assert (only(globex).severity, only(globex).sunset_at) == (Severity.DANGER, SUNSET)


def test_a_brownout_that_runs_is_said(acme: Customer, globex: Customer, walk: Walk) -> None:
    walk(NOW)
    row = v1_ends()
    start = NOW + 60 * DAY
    planned = schedules.plan_brownout(schedule=row, starts_at=start, ends_at=start + 10 * MINUTE, share=50, by=None)
    for customer in (acme, globex):
        used(customer)
    brownout = only(acme).brownout
    assert brownout is not None
    assert brownout.id == planned.pk
    assert only(acme).severity is Severity.INFO
    schedules.rehearse_brownout(schedule_id=row.pk, tenant=acme.tenant, minutes=10, share=100)
    assert only(acme).severity is Severity.DANGER
    assert "rehearsed by your tenant" in only(acme).text
    assert only(globex).severity is Severity.INFO, "another tenant's rehearsal is not shown"
    walk(start)
    used(globex)
    assert "planned for all tenants, 50 % of its calls fail until 09:10 UTC" in only(globex).text


def test_the_most_pressing_comes_first_and_cancelled_ones_go(acme: Customer, walk: Walk) -> None:
    walk(NOW)
    row = v1_ends()
    tiny_ends(sunset_at=NOW + 20 * DAY, deprecate_at=NOW + DAY, short_notice_reason="A bug.")
    used(acme)
    titles = [banner.title for banner in banners_of(tenant_id=acme.tenant.pk)]
    assert titles == ["Model version tiny@1.0.0 ends on 24 January 2027", "API version v1 ends on 22 August 2027"]
    schedules.cancel(row)
    assert [banner.title for banner in banners_of(tenant_id=acme.tenant.pk)] == titles[:1]
    VersionUse.objects.all().delete()
    assert [banner.severity for banner in banners_of(tenant_id=acme.tenant.pk)] == [Severity.INFO]


def test_looking_at_banners_sends_no_notice(acme: Customer, walk: Walk) -> None:
    walk(NOW)
    row = v1_ends()
    used(acme)
    only(acme)
    assert dict(notices.told(schedule_id=row.pk)) == {}
