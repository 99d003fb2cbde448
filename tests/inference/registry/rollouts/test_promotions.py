"""Promotion, rollback and their history; who hears of it; and what is in the audit log."""

import pytest
from auditlog.models import LogEntry

from inference.models import MLModel, ModelVersion, Promotion, RolloutKind, RolloutState
from inference.registry import versions as model_versions
from inference.registry.rollouts import promotions, trials
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.models import DeprecationSchedule, Event
from tests.conftest import Customer
from tests.support.ending import make_schedule
from tests.support.rollouts import heard, used
from tests.support.tiny_model import make_version
from tests.support.walked_clock import Walk, published_at_once, walk

__all__ = ["published_at_once", "walk"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("published_at_once")]


def conflict() -> "pytest.RaisesExc[PlatformError]":
    return pytest.raises(PlatformError, check=lambda error: error.kind is ErrorKind.CONFLICT)


def ready(*versions: str) -> list[ModelVersion]:
    """``tiny@1.0.0`` is live, these are ready."""
    make_version()
    return [make_version(version=version, state="ready") for version in versions]


def live() -> str:
    return model_versions.resolve("tiny").version


def steps() -> list[tuple[str, str, str | None]]:
    rows = Promotion.objects.order_by("pk").select_related("version", "previous")
    return [(row.version.version, row.reason, row.previous.version if row.previous else None) for row in rows]


def test_each_rollback_goes_one_promotion_further_back(acme: Customer) -> None:
    for version in ready("2.0.0", "3.0.0"):
        model_versions.promote(version=version, by=acme.owner)
    model = MLModel.objects.get()
    assert live() == "3.0.0"
    assert str(promotions.target_of_rollback(model)) == "tiny@2.0.0"
    assert str(model_versions.rollback(model=model, by=acme.owner)) == "tiny@2.0.0"
    assert live() == "2.0.0"
    assert model_versions.rollback(model=model).version == "1.0.0"
    assert live() == "1.0.0"
    before = steps()
    assert before == [
        ("2.0.0", "promoted", "1.0.0"),
        ("3.0.0", "promoted", "2.0.0"),
        ("2.0.0", "rolled_back", "1.0.0"),
        ("1.0.0", "rolled_back", None),
    ]
    assert Promotion.objects.order_by("pk")[2].by == acme.owner
    with conflict():
        model_versions.rollback(model=model)
    assert (steps(), live()) == (before, "1.0.0")
    model_versions.promote(version=ModelVersion.objects.get(version="3.0.0"))
    assert model_versions.rollback(model=model).version == "1.0.0", "to what was live, not to what was rolled back"
    assert [str(one.version) for one in promotions.history(model, most=2)] == ["tiny@1.0.0", "tiny@3.0.0"]


def test_a_rollback_passes_over_what_answers_no_more(walk: Walk) -> None:
    second, third = ready("2.0.0", "3.0.0")
    model_versions.promote(version=second)
    model_versions.promote(version=third)
    model_versions.retire(version=second)
    model = MLModel.objects.get()
    assert model_versions.rollback(model=model).version == "1.0.0"
    model_versions.promote(version=third)
    make_schedule("model_version", "tiny@1.0.0", "tiny@3.0.0")
    walk(DeprecationSchedule.objects.get().sunset_at)
    assert promotions.target_of_rollback(model) is None
    with conflict():
        model_versions.rollback(model=model)
    assert live() == "3.0.0"


def test_without_anything_live_there_is_nothing_to_go_back_to() -> None:
    make_version(state="ready")
    with conflict():
        model_versions.rollback(model=MLModel.objects.get())
    assert not Promotion.objects.exists()
    model_versions.promote(version=ModelVersion.objects.get())
    assert steps() == [("1.0.0", "promoted", None)]


def test_to_promote_what_is_live_is_no_step() -> None:
    make_version()
    model_versions.promote(version=ModelVersion.objects.get())
    assert steps() == []
    assert not Event.objects.exists()


def test_customers_that_use_a_public_model_hear_of_its_switches(acme: Customer, globex: Customer) -> None:
    (second,) = ready("2.0.0")
    used("tiny", [acme.tenant])
    used("tiny", [globex.tenant], days_ago=31)
    model_versions.promote(version=second)
    model_versions.rollback(model=second.model)
    assert heard(acme.tenant) == ["promoted 2.0.0", "rolled_back 1.0.0"]
    assert heard(globex.tenant) == []
    first = Event.objects.filter(tenant=acme.tenant, type="model.version.promoted").get()
    assert first.data == {"model": "tiny", "version": "2.0.0", "private": False, "previous": "1.0.0"}


def test_of_a_private_model_only_its_owner_hears_and_of_every_step(acme: Customer, globex: Customer) -> None:
    staged = make_version(state="staged")
    MLModel.objects.update(owner=acme.tenant)
    used("tiny", [globex.tenant])
    model_versions.mark_verified(version_id=staged.pk, error="ValueError: no weights")
    model_versions.mark_verified(version_id=staged.pk, error="")
    model_versions.promote(version=staged)
    second = make_version(version="2.0.0", state="ready")
    trials.start_shadow(version=second)
    trials.stop(model=second.model, kind=RolloutKind.SHADOW)
    model_versions.retire(version=second)
    assert heard(acme.tenant) == [
        "failed 1.0.0",
        "ready 1.0.0",
        "promoted 1.0.0",
        "shadow_started 2.0.0",
        "shadow_stopped 2.0.0",
        "retired 2.0.0",
    ]
    assert heard(globex.tenant) == []


def test_operators_hear_of_every_step_and_customers_of_those_that_concern_them(
    acme: Customer, globex: Customer
) -> None:
    globex.tenant.operator = True
    globex.tenant.save()
    used("tiny", [acme.tenant])
    staged = make_version(state="staged")
    model_versions.mark_verified(version_id=staged.pk, error="")
    model_versions.promote(version=staged)
    assert heard(globex.tenant) == ["ready 1.0.0", "promoted 1.0.0"]
    assert heard(acme.tenant) == ["promoted 1.0.0"]


def test_a_promotion_ends_the_canary_that_it_follows_and_any_other(acme: Customer) -> None:
    second, third = ready("2.0.0", "3.0.0")
    passed = trials.start_canary(version=second, percent=10)
    shadow = trials.start_shadow(version=third)
    model_versions.promote(version=second)
    passed.refresh_from_db()
    assert (passed.state, passed.ended_at is not None) == (RolloutState.PROMOTED, True)
    assert steps() == [("2.0.0", "canary_passed", "1.0.0")]
    shadow.refresh_from_db()
    assert shadow.state == RolloutState.RUNNING, "it is compared with whatever is live"
    other = trials.start_canary(version=third, percent=10)
    model_versions.rollback(model=second.model)
    other.refresh_from_db()
    assert (other.state, other.reason) == (RolloutState.STOPPED, "tiny@1.0.0 became live.")


def test_every_step_is_in_the_audit_log(acme: Customer) -> None:
    (second,) = ready("2.0.0")
    row = trials.start_canary(version=second, percent=10, by=acme.owner)
    model_versions.promote(version=second, by=acme.owner)
    promotion = Promotion.objects.get()
    (made,) = LogEntry.objects.get_for_object(promotion)
    assert made.changes["reason"] == ["None", "canary_passed"]
    begun, ended = LogEntry.objects.get_for_object(row).order_by("pk")
    assert begun.changes["percent"] == ["None", "10"]
    assert ended.changes["state"] == ["running", "promoted"]
    (switched,) = LogEntry.objects.get_for_object(ModelVersion.objects.get(version="1.0.0")).filter(
        changes__state=["live", "ready"]
    )
    assert switched.timestamp <= clock.now()


def test_a_candidate_is_not_retired_while_it_is_tried() -> None:
    (second,) = ready("2.0.0")
    trials.start_canary(version=second, percent=10)
    with conflict():
        model_versions.retire(version=second)
    trials.stop(model=second.model, kind=RolloutKind.CANARY)
    model_versions.retire(version=second)
    assert ModelVersion.objects.get(pk=second.pk).state == "retired"


def test_going_back_ends_also_where_a_version_was_promoted_twice() -> None:
    first, second = make_version(state="ready"), make_version(version="2.0.0", state="ready")
    for version in (first, second, first):
        model_versions.promote(version=version)
    back = [model_versions.rollback(model=first.model).version for _ in range(2)]
    assert back == ["2.0.0", "1.0.0"]
    with pytest.raises(PlatformError, match="no version of tiny to go back to"):
        model_versions.rollback(model=first.model)
