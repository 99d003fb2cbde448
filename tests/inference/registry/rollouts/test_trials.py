"""Canaries and shadows begin, grow and end; whom they take; what may not be."""

import datetime as dt
import math
from typing import Any

import pytest

from inference.models import MLModel, ModelVersion, Rollout, RolloutKind, RolloutState
from inference.registry import versions
from inference.registry.rollouts import share, trials
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.models import DeprecationSchedule, Event, SubjectKind, User
from tests.conftest import Customer
from tests.support.rollouts import heard, used
from tests.support.tiny_model import make_version
from tests.support.walked_clock import published_at_once

__all__ = ["published_at_once"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("published_at_once")]

TENANTS = range(1, 5_001)


@pytest.fixture
def candidate(db: None) -> ModelVersion:
    make_version()
    return make_version(version="2.0.0", state="ready")


def answered_by(version: str) -> set[int]:
    return {one for one in TENANTS if versions.resolve("tiny", tenant_id=one).version == version}


def test_a_canary_takes_its_share_of_the_tenants_and_always_the_same(candidate: ModelVersion) -> None:
    row = trials.start_canary(version=candidate, percent=20)
    taken = answered_by("2.0.0")
    expected = len(TENANTS) * 0.2
    assert abs(len(taken) - expected) < 4.5 * math.sqrt(expected * 0.8)
    assert answered_by("2.0.0") == taken
    assert answered_by("1.0.0") == set(TENANTS) - taken
    versions.forget()
    assert answered_by("2.0.0") == taken, "another process agrees"
    grown = trials.start_canary(version=candidate, percent=60)
    assert grown.pk == row.pk
    assert taken < answered_by("2.0.0")


def test_who_pins_a_version_is_never_moved(candidate: ModelVersion) -> None:
    trials.start_canary(version=candidate, percent=100)
    assert versions.resolve("tiny", tenant_id=1).version == "2.0.0"
    assert versions.resolve("tiny@1.0.0", tenant_id=1).version == "1.0.0"
    assert versions.resolve("tiny").version == "1.0.0", "nor is who asks for no tenant"
    trials.stop(model=candidate.model, kind=RolloutKind.CANARY)
    assert versions.resolve("tiny", tenant_id=1).version == "1.0.0"
    assert not trials.stop(model=candidate.model, kind=RolloutKind.CANARY)


def test_a_shadow_answers_no_calls(candidate: ModelVersion) -> None:
    trials.start_shadow(version=candidate)
    assert {versions.resolve("tiny", tenant_id=one).version for one in range(50)} == {"1.0.0"}
    assert [ref.version for ref in versions.candidates()] == ["2.0.0"]


def test_customers_that_a_canary_takes_hear_of_it_and_others_do_not(candidate: ModelVersion, acme: Customer) -> None:
    used("tiny", [acme.tenant])
    row = trials.start_canary(version=candidate, percent=100)
    trials.stop(model=candidate.model, kind=RolloutKind.CANARY)
    assert heard(acme.tenant) == ["canary_started 2.0.0", "canary_stopped 2.0.0"]
    trials.start_shadow(version=candidate)
    assert len(heard(acme.tenant)) == 2
    least = next(
        percent
        for percent in range(1, 101)
        if share.takes(rollout_id=row.pk, percent=percent, tenant_id=acme.tenant.pk)
    )
    for percent, told in ((least - 1, []), (least, ["canary_failed 2.0.0"])):
        row.percent = percent
        trials.end(row, state=RolloutState.ROLLED_BACK, reason="Too slow.")
        assert heard(acme.tenant)[2:] == told


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"percent": 0}, "percent"),
        ({"percent": 101}, "percent"),
        ({"max_error_rate": -0.1}, "max_error_rate"),
        ({"max_error_rate": float("nan")}, "max_error_rate"),
        ({"max_latency_ratio": 0.5}, "max_latency_ratio"),
        ({"min_calls": 0}, "min_calls"),
    ],
)
def test_numbers_out_of_range(candidate: ModelVersion, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(PlatformError) as refused:
        trials.start_canary(version=candidate, **{"percent": 5, **fields})
    assert (refused.value.kind, refused.value.field) == (ErrorKind.INVALID_INPUT, named)
    assert not Rollout.objects.exists()


@pytest.mark.parametrize("state", ["staged", "retired", "live"])
def test_only_a_ready_version_is_tried_and_only_beside_a_live_one(state: str) -> None:
    version = make_version(state=state)
    if state != "live":
        make_version(version="0.9.0")
    alone = make_version("alone", state="ready")
    for wrong in (version, alone):
        with pytest.raises(PlatformError) as refused:
            trials.start_canary(version=wrong, percent=5)
        assert refused.value.kind is ErrorKind.CONFLICT
        with pytest.raises(PlatformError) as refused:
            trials.start_shadow(version=wrong)
        assert refused.value.kind is ErrorKind.CONFLICT
    assert not Rollout.objects.exists()


def test_one_canary_a_model(candidate: ModelVersion) -> None:
    trials.start_canary(version=candidate, percent=5)
    third = make_version(version="3.0.0", state="ready")
    with pytest.raises(PlatformError, match="stop it first"):
        trials.start_canary(version=third, percent=5)
    trials.start_shadow(version=third)
    assert Rollout.objects.filter(state=RolloutState.RUNNING).count() == 2


def test_a_private_model_has_one_tenant_which_is_taken_whole(candidate: ModelVersion, acme: Customer) -> None:
    MLModel.objects.update(owner=acme.tenant)
    candidate.refresh_from_db()
    with pytest.raises(PlatformError) as refused:
        trials.start_canary(version=candidate, percent=50)
    assert refused.value.field == "percent"
    trials.start_canary(version=candidate, percent=100)
    assert versions.resolve("tiny", tenant_id=acme.tenant.pk).version == "2.0.0"


def test_what_is_changed_of_a_canary_leaves_the_rest(candidate: ModelVersion) -> None:
    trials.start_canary(version=candidate, percent=5, max_error_rate=0.001, min_calls=500)
    grown = trials.start_canary(version=candidate, percent=50, max_latency_ratio=1.5)
    assert (grown.percent, grown.max_error_rate, grown.max_latency_ratio, grown.min_calls) == (50, 0.001, 1.5, 500)


def test_customers_are_not_told_who_stopped_it(candidate: ModelVersion, acme: Customer) -> None:
    staff = User.objects.create(email="eve@platform.test")
    used("tiny", [acme.tenant])
    trials.start_canary(version=candidate, percent=100, by=staff)
    trials.stop(model=candidate.model, kind=RolloutKind.CANARY, by=staff)
    assert Rollout.objects.get().reason == f"Stopped by {staff.email}."
    told = Event.objects.filter(tenant=acme.tenant).latest("pk")
    assert told.data["reason"] == "Stopped."
    assert not any(staff.email in str(event.data) for event in Event.objects.all())


def test_a_version_that_has_ended_is_not_tried(candidate: ModelVersion) -> None:
    DeprecationSchedule.objects.create(
        kind=SubjectKind.MODEL_VERSION,
        subject=str(candidate),
        successor="tiny@1.0.0",
        announce_at=clock.now() - dt.timedelta(days=3),
        deprecate_at=clock.now() - dt.timedelta(days=2),
        sunset_at=clock.now() - dt.timedelta(days=1),
    )
    with pytest.raises(PlatformError, match="has ended"):
        trials.start_canary(version=candidate, percent=5)
    assert not Rollout.objects.exists()
