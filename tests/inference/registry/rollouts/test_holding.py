"""A version goes live or is tried only while a worker holds it; otherwise one loads it, and a repeat succeeds."""

from collections.abc import Callable

import pytest
from django.db import transaction

from inference.fleet import workers
from inference.models import ModelVersion, Promotion, Rollout
from inference.registry import versions
from inference.registry.rollouts import holding, trials
from mlplatform.lib import enqueue, redis
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.support.holding import report, reports_are_asked
from tests.support.redis_server import RedisServer
from tests.support.tiny_model import TinyWorker, make_version, tiny_worker

__all__ = ["reports_are_asked", "tiny_worker"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("reports_are_asked")]

Begin = Callable[[ModelVersion], object]
_BEGINNINGS = pytest.mark.parametrize(
    "begin",
    [
        lambda version: versions.promote(version=version),
        lambda version: trials.start_canary(version=version, percent=5),
        lambda version: trials.start_shadow(version=version),
    ],
    ids=["promote", "canary", "shadow"],
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """Tasks that were sent: name, queue and version."""
    sent: list[tuple[str, str, int]] = []
    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: sent.append((task, queue, kwargs["version_id"])))
    return sent


@pytest.fixture
def candidate() -> ModelVersion:
    """``tiny@2.0.0``, ready beside the live ``tiny@1.0.0``."""
    make_version()
    return make_version(version="2.0.0", state="ready")


def refused(begin: Begin, version: ModelVersion, kind: ErrorKind = ErrorKind.CONFLICT) -> str:
    """The reason; nothing is another then."""
    with pytest.raises(PlatformError) as caught, transaction.atomic():
        begin(version)
    assert caught.value.kind is kind
    assert not Promotion.objects.exists()
    assert not Rollout.objects.exists()
    assert dict(ModelVersion.objects.values_list("version", "state")) == {"1.0.0": "live", "2.0.0": "ready"}
    return caught.value.detail


@_BEGINNINGS
def test_what_no_worker_holds_is_loaded_once_and_a_repeat_succeeds(
    begin: Begin, candidate: ModelVersion, asked: list[tuple[str, str, int]]
) -> None:
    report()
    for _ in range(2):
        assert "No worker holds tiny@2.0.0 in memory now" in refused(begin, candidate)
    assert asked == [(holding.VERIFY_TASK, "gpu", candidate.pk)], "also from a transaction that was rolled back"
    report(candidate)
    begin(candidate)
    assert Promotion.objects.count() + Rollout.objects.count() == 1


@_BEGINNINGS
def test_only_workers_of_its_pool_that_take_batches_count(
    begin: Begin, candidate: ModelVersion, asked: list[tuple[str, str, int]]
) -> None:
    report(candidate, name="other-1@here", pool="other")
    drained = report(candidate)
    workers.drain(worker=drained.name, by="ada")
    assert "No worker of the pool gpu takes batches" in refused(begin, candidate), "before it has heard of the order"
    drained.beat()
    assert "No worker of the pool gpu takes batches" in refused(begin, candidate)
    workers.undrain(worker=drained.name)
    drained.end()
    assert "start one" in refused(begin, candidate)
    assert asked == []


def test_why_it_was_not_loaded_the_last_time_is_said(
    candidate: ModelVersion, asked: list[tuple[str, str, int]]
) -> None:
    report()
    versions.mark_verified(version_id=candidate.pk, error="ArtefactError: a file is gone")
    assert refused(lambda version: versions.promote(version=version), candidate).endswith("a file is gone")


def test_without_redis_nothing_goes_live(candidate: ModelVersion, state_redis: RedisServer) -> None:
    state_redis.stop()
    said = refused(lambda version: versions.promote(version=version), candidate, ErrorKind.UNAVAILABLE)
    assert "nothing was changed" in said


def test_a_rollback_and_another_share_of_a_canary_do_not_wait_for_a_worker(
    candidate: ModelVersion, asked: list[tuple[str, str, int]]
) -> None:
    third = make_version(version="3.0.0", state="ready")
    report(candidate, third)
    versions.promote(version=candidate)
    trials.start_canary(version=third, percent=5)
    report()
    assert trials.start_canary(version=third, percent=50).percent == 50
    assert versions.rollback(model=candidate.model).version == "1.0.0"
    assert asked == []


def test_a_worker_says_that_it_holds_a_version_before_it_is_told_to_be_ready(
    tiny_worker: TinyWorker, asked: list[tuple[str, str, int]]
) -> None:
    version = make_version(state="staged")
    tiny_worker.serve(version)
    tiny_worker.worker.verify(version.pk)
    assert holding.holders(version) == [tiny_worker.worker.heartbeat.name]
    version.refresh_from_db()
    versions.promote(version=version)
    assert versions.resolve("tiny").version == "1.0.0"
    assert redis.state().hlen("workers:alive") == 1


def test_an_installation_goes_live_before_its_workers_start() -> None:
    versions.promote(version=make_version(state="ready"), before_workers=True)
    assert versions.resolve("tiny").version == "1.0.0"
