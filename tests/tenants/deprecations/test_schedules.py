"""What staff and tenant admins do to schedules: validated, published, and never backwards."""

import datetime as dt

import pytest
from auditlog.models import LogEntry
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from pytest_django import Settings

from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.deprecations import catalogue, schedules
from tenants.deprecations.rules import State
from tenants.models import ApiVersion, Brownout, DeprecationSchedule, Extension
from tests.conftest import Customer
from tests.support.walked_clock import Walk, published_at_once, walk

__all__ = ["published_at_once", "walk"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("published_at_once")]

NOW = dt.datetime(2027, 1, 4, 9, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def v1_ends(**changes: object) -> DeprecationSchedule:
    """A good schedule of v1, not saved: announced at NOW, deprecated in 30 days, ended 200 days later."""
    fields: dict[str, object] = {
        "kind": "api_version",
        "subject": "v1",
        "announce_at": NOW,
        "deprecate_at": NOW + 30 * DAY,
        "sunset_at": NOW + 230 * DAY,
        "successor": "v2",
        "reason": "v2 says more.",
        "guide": "Use v2.\n\n[[changes]]",
    }
    return DeprecationSchedule(**(fields | changes))


def state_of(name: str) -> State:
    return catalogue.current().api_versions[name].state(at=clock.now())


def test_the_first_versions_are_there_and_active() -> None:
    assert [*catalogue.current().api_versions] == ["v1", "v1.1", "v2"]
    assert {state_of(name) for name in catalogue.current().api_versions} == {State.ACTIVE}


def test_a_version_without_a_release_is_a_preview(walk: Walk) -> None:
    ApiVersion.objects.create(name="v3")
    ApiVersion.objects.create(name="v10", released_at=NOW)
    catalogue.changed()
    walk(NOW - DAY)
    assert [*catalogue.current().api_versions] == ["v1", "v1.1", "v2", "v3", "v10"]
    assert (state_of("v3"), state_of("v10")) == (State.PREVIEW, State.PREVIEW)
    walk(NOW)
    assert (state_of("v3"), state_of("v10")) == (State.PREVIEW, State.ACTIVE)


def test_a_saved_schedule_is_in_force_and_audited(walk: Walk, acme: Customer) -> None:
    walk(NOW)
    row = schedules.save(v1_ends(), by=acme.owner)
    assert row.created_by == acme.owner
    assert state_of("v1") is (State.ANNOUNCED if row.announce_at <= NOW else State.ACTIVE)
    walk(row.deprecate_at)
    assert (state_of("v1"), state_of("v1.1")) == (State.DEPRECATED, State.ACTIVE)
    walk(row.sunset_at)
    assert state_of("v1") is State.SUNSET
    entry = LogEntry.objects.get_for_object(row).get()
    assert entry.changes_dict["successor"] == ["None", "v2"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"announce_at": NOW + 31 * DAY}, "deprecate_at"),
        ({"sunset_at": NOW + 30 * DAY}, "sunset_at"),
        ({"sunset_at": NOW + 211 * DAY}, "short_notice_reason"),
        ({"guide": " "}, "guide"),
        ({"reason": " "}, "reason"),
        ({"subject": "v9"}, "subject"),
        ({"subject": "v2", "successor": "v1.1"}, "subject"),
        ({"successor": "v1"}, "successor"),
        ({"successor": "v9"}, "successor"),
        ({"subject": "v1.1", "successor": "v1"}, "successor"),
    ],
)
def test_a_wrong_schedule_names_its_field(walk: Walk, changes: dict[str, object], field: str) -> None:
    walk(NOW)
    with pytest.raises(ValidationError) as wrong:
        schedules.save(v1_ends(**changes))
    assert field in wrong.value.message_dict
    assert not DeprecationSchedule.objects.exists()
    assert state_of("v1") is State.ACTIVE


def test_less_than_six_months_need_a_reason(walk: Walk) -> None:
    walk(NOW)
    row = schedules.save(v1_ends(sunset_at=NOW + 90 * DAY, short_notice_reason="A security hole in v1."))
    assert row.pk


def test_a_successor_must_outlive_the_subject(walk: Walk) -> None:
    walk(NOW)
    schedules.save(v1_ends(subject="v1.1", sunset_at=NOW + 220 * DAY))
    with pytest.raises(ValidationError, match="must be active when v1 ends"):
        schedules.save(v1_ends(successor="v1.1"))


def test_a_subject_has_one_schedule(walk: Walk) -> None:
    walk(NOW)
    schedules.save(v1_ends())
    with pytest.raises(ValidationError, match="has a schedule already"):
        schedules.save(v1_ends())
    with pytest.raises(IntegrityError), transaction.atomic():
        v1_ends().save()


def test_what_has_passed_cannot_be_moved(walk: Walk) -> None:
    walk(NOW)
    row = schedules.save(v1_ends())
    walk(row.deprecate_at)
    row.deprecate_at += DAY
    with pytest.raises(ValidationError, match="has passed") as wrong:
        schedules.save(row)
    assert [*wrong.value.message_dict] == ["deprecate_at"]
    row.refresh_from_db()
    row.sunset_at += 30 * DAY
    schedules.save(row)
    walk(row.sunset_at)
    row.sunset_at += DAY
    with pytest.raises(ValidationError, match="has passed"):
        schedules.save(row)


def test_a_canceled_schedule_frees_its_subject_until_the_sunset(walk: Walk) -> None:
    walk(NOW)
    row = schedules.save(v1_ends())
    walk(row.deprecate_at)
    schedules.cancel(row)
    assert state_of("v1") is State.ACTIVE
    again = schedules.save(v1_ends(announce_at=NOW + 30 * DAY, deprecate_at=NOW + 40 * DAY))
    walk(again.sunset_at)
    with pytest.raises(PlatformError) as refused:
        schedules.cancel(again)
    assert refused.value.kind is ErrorKind.CONFLICT
    assert state_of("v1") is State.SUNSET


@pytest.mark.parametrize(
    ("first", "last", "field"), [(29, 31, "starts_at"), (229, 231, "ends_at"), (40, 40, "ends_at"), (41, 40, "ends_at")]
)
def test_a_brownout_lies_between_deprecation_and_sunset(walk: Walk, first: int, last: int, field: str) -> None:
    walk(NOW)
    row = schedules.save(v1_ends())
    with pytest.raises(ValidationError) as wrong:
        schedules.plan_brownout(schedule=row, starts_at=NOW + first * DAY, ends_at=NOW + last * DAY, share=50, by=None)
    assert field in wrong.value.message_dict
    assert not Brownout.objects.exists()


@pytest.mark.parametrize("share", [0, 101])
def test_a_share_is_in_percent(walk: Walk, share: int) -> None:
    walk(NOW)
    row = schedules.save(v1_ends())
    with pytest.raises(ValidationError):
        schedules.plan_brownout(schedule=row, starts_at=NOW + 40 * DAY, ends_at=NOW + 41 * DAY, share=share, by=None)
    assert not Brownout.objects.exists()


def test_a_planned_brownout_can_be_stopped(walk: Walk) -> None:
    walk(NOW)
    row = schedules.save(v1_ends())
    window = schedules.plan_brownout(schedule=row, starts_at=NOW + 40 * DAY, ends_at=NOW + 41 * DAY, share=100, by=None)
    walk(NOW + 40.5 * DAY)
    (known,) = catalogue.current().api_versions["v1"].schedule.brownouts  # type: ignore[union-attr]
    assert known.ends_at == window.ends_at
    schedules.stop_brownout(window)
    (known,) = catalogue.current().api_versions["v1"].schedule.brownouts  # type: ignore[union-attr]
    assert known.ends_at == clock.now()


def test_a_rehearsed_brownout_is_the_tenants_own(walk: Walk, acme: Customer, globex: Customer) -> None:
    walk(NOW)
    row = schedules.save(v1_ends())
    theirs = schedules.rehearse_brownout(schedule_id=row.pk, tenant=globex.tenant, minutes=10, share=100)
    first = schedules.rehearse_brownout(schedule_id=row.pk, tenant=acme.tenant, minutes=60, share=10)
    walk(NOW + dt.timedelta(minutes=1))
    second = schedules.rehearse_brownout(schedule_id=row.pk, tenant=acme.tenant, minutes=30, share=100)
    first.refresh_from_db()
    assert first.ends_at == clock.now()
    assert second.ends_at == clock.now() + dt.timedelta(minutes=30)
    assert schedules.stop_rehearsal(schedule_id=row.pk, tenant=acme.tenant) == 1
    assert schedules.stop_rehearsal(schedule_id=row.pk, tenant=acme.tenant) == 0
    theirs.refresh_from_db()
    assert theirs.ends_at == NOW + dt.timedelta(minutes=10)


@pytest.mark.parametrize(("minutes", "share"), [(0, 100), (121, 100), (10, 0), (10, 101)])
def test_a_rehearsal_has_bounds(walk: Walk, acme: Customer, minutes: int, share: int) -> None:
    walk(NOW)
    row = schedules.save(v1_ends())
    with pytest.raises(PlatformError) as refused:
        schedules.rehearse_brownout(schedule_id=row.pk, tenant=acme.tenant, minutes=minutes, share=share)
    assert refused.value.kind is ErrorKind.INVALID_INPUT
    assert not Brownout.objects.exists()


def test_what_is_not_announced_does_not_exist_for_tenants(walk: Walk, acme: Customer) -> None:
    walk(NOW - DAY)
    row = schedules.save(v1_ends())
    with pytest.raises(PlatformError) as refused:
        schedules.rehearse_brownout(schedule_id=row.pk, tenant=acme.tenant, minutes=10, share=100)
    assert refused.value.kind is ErrorKind.NOT_FOUND
    assert not Brownout.objects.exists()


def test_an_extension_is_later_and_has_a_reason(walk: Walk, acme: Customer, globex: Customer) -> None:
    walk(NOW)
    row = schedules.save(v1_ends())

    def grant(until: dt.datetime, reason: str = "Their release is in autumn.") -> Extension:
        return schedules.grant_extension(
            schedule=row, tenant=acme.tenant, until=until, reason=reason, approved_by=globex.owner
        )

    for until, reason in ((row.sunset_at, "Why not"), (row.sunset_at + DAY, " ")):
        with pytest.raises(ValidationError):
            grant(until, reason)
    assert not Extension.objects.exists()
    grant(row.sunset_at + 10 * DAY)
    extension = grant(row.sunset_at + 30 * DAY)
    assert Extension.objects.get() == extension
    assert extension.approved_by == globex.owner
    known = catalogue.current().api_versions["v1"]
    walk(row.sunset_at + 29 * DAY)
    assert known.state(at=clock.now()) is State.SUNSET
    assert catalogue.current().api_versions["v1"].state(at=clock.now(), tenant_id=acme.tenant.pk) is State.DEPRECATED
    assert catalogue.current().api_versions["v1"].state(at=clock.now(), tenant_id=globex.tenant.pk) is State.SUNSET


def test_a_tenant_with_an_extension_rehearses_as_long_as_it_lasts(walk: Walk, acme: Customer, globex: Customer) -> None:
    walk(NOW)
    row = schedules.save(v1_ends())
    until = row.sunset_at + 30 * DAY
    schedules.grant_extension(
        schedule=row, tenant=acme.tenant, until=until, reason="Their freeze.", approved_by=acme.owner
    )
    walk(row.sunset_at)
    assert schedules.rehearse_brownout(schedule_id=row.pk, tenant=acme.tenant, minutes=5, share=100).pk
    for customer, moment in ((globex, row.sunset_at), (acme, until)):
        walk(moment)
        with pytest.raises(PlatformError) as refused:
            schedules.rehearse_brownout(schedule_id=row.pk, tenant=customer.tenant, minutes=5, share=100)
        assert refused.value.kind is ErrorKind.CONFLICT
    assert Brownout.objects.count() == 1


def test_the_default_version_does_not_end(walk: Walk, settings: Settings) -> None:
    walk(NOW)
    settings.DEFAULT_API_VERSION = "v1"
    with pytest.raises(ValidationError, match="platform's default"):
        schedules.save(v1_ends())
