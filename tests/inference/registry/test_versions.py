"""Versions through their states; what is not allowed changes nothing."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from pytest_django import DjangoCaptureOnCommitCallbacks

from inference.models import MLModel, ModelVersion, VersionState
from inference.registry import artefacts, versions
from inference.registry import live as live_versions
from mlplatform.lib import redis
from mlplatform.lib.errors import ErrorKind, PlatformError
from mlplatform.lib.snapshot import Snapshot
from tenants.deprecations import schedules
from tenants.models import DeprecationSchedule
from tests.conftest import Customer
from tests.support.ending import make_schedule
from tests.support.tiny_model import make_version
from tests.support.walked_clock import Walk, published_at_once, walk

__all__ = ["published_at_once", "walk"]

FIELDS: dict[str, Any] = {
    "runtime": "text-classification",
    "input_schema": {"kind": "text"},
    "output_schema": {"kind": "classification"},
    "labels": ["yes", "no"],
}


@pytest.fixture
def folder() -> Path:
    folder = Path(settings.MODELS_DIR) / "tiny" / "1.0.0"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    return folder


def states() -> dict[str, str]:
    return {str(version): version.state for version in ModelVersion.objects.select_related("model")}


def refused(kind: ErrorKind) -> "pytest.RaisesExc[PlatformError]":
    return pytest.raises(PlatformError, check=lambda error: error.kind is kind)


@pytest.mark.django_db(transaction=True)
def test_a_version_from_staging_to_its_end(folder: Path) -> None:
    model = MLModel.objects.create(name="tiny")
    first = versions.stage(model=model, version="1.0.0", artefact_path="tiny/1.0.0", **FIELDS)
    assert first.sha256 == artefacts.digest(folder)
    assert states() == {"tiny@1.0.0": "staged"}
    for name in ("tiny", "tiny@1.0.0"):
        with refused(ErrorKind.NOT_FOUND):
            versions.resolve(name)
    versions.request_verification(version=first)
    assert redis.state().llen("celery:gpu") == 1
    versions.mark_verified(version_id=first.pk, error="")
    assert versions.resolve("tiny@1.0.0").live is False
    with refused(ErrorKind.NOT_FOUND):
        versions.resolve("tiny")
    versions.promote(version=first)
    assert versions.resolve("tiny").version == "1.0.0", "at once in this process"
    second = make_version(version="1.1.0", state="ready")
    versions.changed()
    versions.promote(version=second)
    assert states() == {"tiny@1.0.0": "ready", "tiny@1.1.0": "live"}
    assert versions.resolve("tiny").version == "1.1.0"
    assert versions.resolve("tiny@1.0.0").version == "1.0.0"
    versions.promote(version=first)
    assert versions.resolve("tiny").version == "1.0.0", "and back"
    versions.retire(version=second)
    with refused(ErrorKind.NOT_FOUND):
        versions.resolve("tiny@1.1.0")
    assert states() == {"tiny@1.0.0": "live", "tiny@1.1.0": "retired"}


@pytest.mark.django_db(transaction=True)
def test_other_processes_follow_at_their_next_tick() -> None:
    first, second = make_version(version="1.0.0"), make_version(version="2.0.0", state="ready")
    other = Snapshot("models", live_versions.load)
    assert other.get().by_reference["tiny"].version == "1.0.0"
    versions.promote(version=second)
    other.renew()
    assert other.get().by_reference["tiny"].version == "2.0.0"
    versions.promote(version=first)
    versions.retire(version=second)
    versions.purge_cache(model=first.model)
    other.renew()
    assert "tiny@2.0.0" not in other.get().by_reference
    assert other.get().by_reference["tiny"].cache_epoch == 1


@pytest.mark.parametrize("state", ["staged", "retired"])
@pytest.mark.django_db
def test_only_a_ready_version_goes_live(state: str) -> None:
    make_version(version="1.0.0")
    other = make_version(version="2.0.0", state=state)
    before, entries = states(), LogEntry.objects.count()
    with refused(ErrorKind.CONFLICT):
        versions.promote(version=other)
    assert states() == before
    assert LogEntry.objects.count() == entries


@pytest.mark.django_db
def test_a_live_version_is_neither_retired_nor_promoted_again() -> None:
    live = make_version()
    with refused(ErrorKind.CONFLICT):
        versions.retire(version=live)
    versions.promote(version=live)
    live.refresh_from_db()
    assert (live.state, live.live_since) == ("live", None)


@pytest.mark.parametrize(
    ("state", "error", "expected"),
    [
        ("staged", "", "ready"),
        ("staged", "it does not load" * 100, "staged"),
        ("ready", "broken now", "ready"),
        ("live", "", "live"),
        ("retired", "", "retired"),
    ],
)
@pytest.mark.django_db
def test_a_verdict_moves_only_staged_versions(state: str, error: str, expected: str) -> None:
    version = make_version(state=state)
    versions.mark_verified(version_id=version.pk, error=error)
    version.refresh_from_db()
    assert (version.state, version.load_error) == (expected, error[:500])


@pytest.mark.django_db
def test_what_cannot_be_staged_leaves_no_row(folder: Path) -> None:
    model = MLModel.objects.create(name="tiny")
    versions.stage(model=model, version="1.0.0", artefact_path="tiny/1.0.0", **FIELDS)
    wrong: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"version": "1.0.0"}, ValidationError),
        ({"version": "one"}, ValidationError),
        ({"max_batch_size": 0}, ValidationError),
        ({"artefact_path": "../../etc"}, PlatformError),
        ({"artefact_path": "/etc"}, PlatformError),
        ({"artefact_path": "."}, PlatformError),
        ({"artefact_path": "tiny/9.9.9"}, artefacts.ArtefactError),
    ]
    for changes, error in wrong:
        with pytest.raises(error):
            versions.stage(**{"model": model, "version": "2.0.0", "artefact_path": "tiny/1.0.0", **FIELDS, **changes})
    assert states() == {"tiny@1.0.0": "staged"}


@pytest.mark.django_db
def test_the_database_allows_one_live_version_a_model() -> None:
    make_version()
    for version, state in (("2.0.0", "live"), ("1.0.0", "ready"), ("3.0.0", "gone")):
        with pytest.raises(IntegrityError), transaction.atomic():
            make_version("tiny", version, state)
    make_version("other")


@pytest.mark.django_db
def test_what_answers_is_listed_by_name_and_by_version_as_numbers() -> None:
    for version, state in (("1.10.0", "live"), ("1.9.0", "ready"), ("2.0.0-beta", "ready"), ("3.0.0", "staged")):
        make_version("tiny", version, state)
    make_version("alpha")
    names = [f"{ref.name}@{ref.version}" for ref in versions.answering()]
    assert names == ["alpha@1.0.0", "tiny@1.9.0", "tiny@1.10.0", "tiny@2.0.0-beta"]


@pytest.mark.django_db
def test_a_rolled_back_promotion_is_not_told(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    make_version(version="1.0.0")
    second = make_version(version="2.0.0", state="ready")
    assert versions.resolve("tiny").version == "1.0.0"
    with transaction.atomic():
        versions.promote(version=second)
        transaction.set_rollback(True)
    assert versions.resolve("tiny").version == "1.0.0"
    assert redis.state().keys("snapshot:*") == []


def test_a_name_that_is_too_long_is_not_sent_back_whole() -> None:
    assert len(versions.not_found("x" * 10_000).detail) < 300


def test_states_that_answer() -> None:
    assert set(versions.ANSWERING) == {VersionState.READY, VersionState.LIVE}


@pytest.fixture
def ending(db: None, published_at_once: None) -> tuple[ModelVersion, ModelVersion]:
    """``tiny@1.0.0``, which ends, and its successor ``tiny@2.0.0``, which is live."""
    old, new = make_version(), make_version(version="2.0.0", state="ready")
    versions.promote(version=new)
    make_schedule("model_version", "tiny@1.0.0", "tiny@2.0.0")
    return old, new


def test_what_was_promised_is_not_retired(ending: tuple[ModelVersion, ModelVersion], walk: Walk) -> None:
    old, new = ending
    before = states()
    with refused(ErrorKind.CONFLICT):
        versions.retire(version=old)
    versions.promote(version=old)  # Going back in an emergency is allowed.
    with refused(ErrorKind.CONFLICT):
        versions.retire(version=new)
    versions.promote(version=new)
    assert states() == before
    walk(DeprecationSchedule.objects.get().sunset_at)
    with refused(ErrorKind.CONFLICT):
        versions.promote(version=old)
    assert states() == before
    versions.retire(version=old)
    assert states() == before | {"tiny@1.0.0": "retired"}


def test_an_extension_is_a_promise_too(ending: tuple[ModelVersion, ModelVersion], walk: Walk, acme: Customer) -> None:
    schedule = DeprecationSchedule.objects.get()
    until = schedule.sunset_at + dt.timedelta(days=30)
    schedules.grant_extension(
        schedule=schedule, tenant=acme.tenant, until=until, reason="Their freeze.", approved_by=acme.owner
    )
    walk(schedule.sunset_at)
    with refused(ErrorKind.CONFLICT):
        versions.retire(version=ending[0])
    walk(until)
    versions.retire(version=ending[0])
    assert states()["tiny@1.0.0"] == "retired"


def test_a_canceled_schedule_promises_nothing(ending: tuple[ModelVersion, ModelVersion]) -> None:
    schedules.cancel(DeprecationSchedule.objects.get())
    versions.retire(version=ending[0])
    assert states()["tiny@1.0.0"] == "retired"
