"""Rehearsed migrations: real answers of real models, nothing of the customer's touched, and no attempt lost or doubled."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings

from inference.deprecations import tasks as deprecation_tasks
from inference.deprecations.rehearsals import jobs as rehearsal_jobs
from inference.deprecations.rehearsals import replaying, report
from inference.deprecations.rehearsals.jobs import MAX_ATTEMPTS
from inference.deprecations.samples import store as samples
from inference.models import CallSample, Rehearsal, RehearsalState
from mlplatform.lib import clock, redis
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import api_keys
from tenants.deprecations import catalogue
from tenants.models import DeprecationSchedule
from tests.conftest import Customer
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.live_worker import LiveWorker, demo_models, live_worker
from tests.support.rest import Api

__all__ = ["demo_models", "live_worker"]

pytestmark = pytest.mark.usefixtures("prices")

TEXT = "What a wonderful morning!"
POSITIVE = {"prediction": "positive", "confidence": 0.9}


@pytest.fixture
def ending(acme: Customer) -> DeprecationSchedule:
    """v1 ends, and acme has opted in to have its calls kept."""
    acme.tenant.keeps_calls = True
    acme.tenant.save()
    return make_schedule()


def keep(customer: Customer, answer: Any, *, text: str = TEXT, **fields: Any) -> CallSample:
    """A sampled call of the customer, kept whole."""
    return CallSample.objects.create(
        **{
            "tenant": customer.tenant,
            "kind": "api_version",
            "subject": "v1",
            "api_version": "v1",
            "model": "sentiment",
            "key_uid": customer.key.uid,
            "body": {"model": "sentiment", "input": text},
            "answer": answer,
            "whole": True,
            "called_at": clock.now(),
            **fields,
        }
    )


def rehearse(customer: Customer, schedule: DeprecationSchedule) -> tuple[Rehearsal, report.RehearsalReport]:
    """Ask for a rehearsal and work on it, as the jobs worker does when the message comes."""
    row = rehearsal_jobs.request(schedule_id=schedule.pk, tenant=customer.tenant, by=customer.owner)
    deprecation_tasks.rehearse(rehearsal_id=row.pk)
    row.refresh_from_db()
    made = report.read(row.report)
    assert made is not None, row.error
    return row, made


# --- What a rehearsal finds ------------------------------------------------------------------------------------------


def test_the_same_answer_makes_ready_and_nothing_of_the_customers_is_touched(
    acme: Customer, globex: Customer, live_worker: LiveWorker, ending: DeprecationSchedule
) -> None:
    recorded = Api(globex).post("/v1/predict", {"model": "sentiment", "input": TEXT})
    keep(acme, recorded.body)
    computed, cached = live_worker.inputs, len(redis.cache().keys("*"))
    row, made = rehearse(acme, ending)
    assert (row.state, row.verdict, made.verdict, row.requested_by) == ("succeeded", "ready", "ready", acme.owner)
    assert (made.calls, made.failed, made.failures, made.differences) == (1, 0, (), ())
    assert live_worker.inputs - computed == 2, "computed by the worker for both versions, by no cache"
    assert [item.hold_id for batch in live_worker.batches[-2:] for item in batch.items] == ["", ""]
    ledger.assert_untouched(acme)
    assert len(redis.cache().keys("*")) == cached
    assert Api(acme).post("/v2/predict", {"model": "sentiment", "input": TEXT}).headers["X-Cache"] == "MISS"
    changed = {(line.part, line.path, line.change) for line in made.changes}
    assert ("answer", "prediction", "removed") in changed
    assert ("answer", "predictions[].label", "added") in changed
    assert TEXT not in str(row.report)
    assert made.old_latency_ms is not None
    assert made.new_latency_ms is not None
    assert (made.old_units, made.new_units) == (1, 1)
    assert rehearsal_jobs.verdicts(schedule_id=ending.pk) == {acme.tenant.pk: "ready"}


def test_other_labels_and_moved_scores_are_told(
    acme: Customer, globex: Customer, live_worker: LiveWorker, ending: DeprecationSchedule
) -> None:
    recorded = Api(globex).post("/v1/predict", {"model": "sentiment", "input": TEXT}).body
    keep(acme, recorded | {"confidence": recorded["confidence"] - 0.04})
    keep(acme, recorded | {"confidence": recorded["confidence"] - 0.3})
    row, made = rehearse(acme, ending)
    assert row.verdict == "ready", "a moved score alone is told, and no reason to wait"
    (line,) = made.differences
    assert (line.what, line.path, line.calls) == ("score", "confidence", 1)
    assert line.largest == pytest.approx(0.3, abs=1e-5)
    keep(acme, {"prediction": "anything else", "confidence": 0.9})
    row, made = rehearse(acme, ending)
    assert row.verdict == "needs_work"
    assert [line.example for line in made.differences if line.what == "label"] == [
        f"anything else → {recorded['prediction']}"
    ]


def test_calls_that_would_fail_are_counted_by_their_reason(
    acme: Customer, live_worker: LiveWorker, ending: DeprecationSchedule
) -> None:
    narrow = api_keys.issue(tenant=acme.tenant, name="Narrow", allowed_models=["digits"])
    keep(acme, POSITIVE, body={"model": "gone", "input": TEXT})
    keep(acme, POSITIVE, body={"model": "gone", "input": TEXT})
    keep(acme, POSITIVE, text=" ")
    keep(acme, POSITIVE, key_uid=narrow.key.uid)
    row, made = rehearse(acme, ending)
    assert (row.verdict, made.calls, made.failed) == ("needs_work", 4, 4)
    assert {(line.kind, line.field, line.calls) for line in made.failures} == {
        ("not-found", "model", 2),
        ("invalid-input", "input", 1),
        ("not-found", "model", 1),
    }
    assert "4 calls were replayed: 4 would fail" in made.summary
    ledger.assert_untouched(acme)


def test_a_model_version_is_rehearsed_on_its_successor(acme: Customer, live_worker: LiveWorker) -> None:
    acme.tenant.keeps_calls = True
    acme.tenant.save()
    schedule = make_schedule("model_version", "sentiment@1.0.0", "sentiment@2.0.0")
    recorded = Api(acme).post("/v2/predict", {"model": "sentiment@1.0.0", "input": TEXT})
    charged = ledger.units(acme.tenant)
    fields = {"kind": "model_version", "subject": "sentiment@1.0.0", "api_version": "v2", "model": "sentiment@1.0.0"}
    keep(acme, recorded.body, body={"model": "sentiment@1.0.0", "input": TEXT}, **fields)
    keep(acme, recorded.body, body={"input": TEXT}, **fields)
    _, made = rehearse(acme, schedule)
    assert (made.calls, made.failed) == (2, 0)
    versions = {batch.version_id for batch in live_worker.batches}
    assert len(versions) == 2, "both were computed"
    assert ledger.units(acme.tenant) == charged
    assert [line for line in made.changes if line.part == "answer"] == []


def test_without_samples_the_report_says_why(acme: Customer, ending: DeprecationSchedule) -> None:
    keep(acme, POSITIVE, whole=False)
    row, made = rehearse(acme, ending)
    assert (row.state, row.verdict, made.calls) == ("succeeded", "needs_work", 0)
    assert "No call was replayed" in made.summary


# --- Who may ask ------------------------------------------------------------------------------------------------------


def test_one_rehearsal_at_a_time(acme: Customer, globex: Customer, ending: DeprecationSchedule) -> None:
    first = rehearsal_jobs.request(schedule_id=ending.pk, tenant=acme.tenant)
    with pytest.raises(PlatformError) as caught:
        rehearsal_jobs.request(schedule_id=ending.pk, tenant=acme.tenant)
    assert caught.value.kind is ErrorKind.CONFLICT
    assert list(Rehearsal.objects.all()) == [first]
    rehearsal_jobs.run(first.pk)
    again = rehearsal_jobs.request(schedule_id=ending.pk, tenant=acme.tenant)
    assert rehearsal_jobs.latest(schedule_id=ending.pk, tenant_id=acme.tenant.pk) == again
    assert rehearsal_jobs.latest(schedule_id=ending.pk, tenant_id=globex.tenant.pk) is None


def test_without_opt_in_it_is_forbidden_with_words(globex: Customer, ending: DeprecationSchedule) -> None:
    with pytest.raises(PlatformError, match="opted in") as caught:
        rehearsal_jobs.request(schedule_id=ending.pk, tenant=globex.tenant)
    assert caught.value.kind is ErrorKind.FORBIDDEN
    assert not Rehearsal.objects.exists()


@pytest.mark.parametrize("what", ["missing", "unannounced", "canceled"])
def test_what_is_not_announced_is_not_there(acme: Customer, ending: DeprecationSchedule, what: str) -> None:
    if what == "unannounced":
        ending.announce_at = ending.deprecate_at = clock.now() + dt.timedelta(days=1)
    elif what == "canceled":
        ending.canceled_at = clock.now()
    ending.save()
    with pytest.raises(PlatformError) as caught:
        rehearsal_jobs.request(schedule_id=999_999 if what == "missing" else ending.pk, tenant=acme.tenant)
    assert (caught.value.kind, caught.value.detail) == (ErrorKind.NOT_FOUND, "There is no such deprecation.")
    assert not Rehearsal.objects.exists()


# --- Leases, attempts, and what was lost ------------------------------------------------------------------------------


def jobs_waiting() -> int:
    return int(redis.state().llen("celery:jobs"))


@pytest.fixture
def asked(acme: Customer, ending: DeprecationSchedule, django_capture_on_commit_callbacks: Any) -> Rehearsal:
    """A rehearsal that was asked for, with its message in the broker."""
    keep(acme, POSITIVE)
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        row = rehearsal_jobs.request(schedule_id=ending.pk, tenant=acme.tenant)
    assert len(callbacks) == 1
    assert jobs_waiting() == 1
    return row


def later(monkeypatch: pytest.MonkeyPatch, by: dt.timedelta) -> None:
    moment = clock.now() + by
    monkeypatch.setattr(clock, "now", lambda: moment)


def test_a_lost_message_is_sent_again(asked: Rehearsal, django_capture_on_commit_callbacks: Any) -> None:
    redis.state().delete("celery:jobs")
    with django_capture_on_commit_callbacks(execute=True):
        deprecation_tasks.sweep_rehearsals()
    assert jobs_waiting() == 1
    by_beat = settings.CELERY_BEAT_SCHEDULE["sweep-rehearsals"]
    assert (by_beat["task"], by_beat["schedule"]) == (deprecation_tasks.sweep_rehearsals.name, 30.0)


class Killed(BaseException):
    """Ends an attempt as a killed process does: the lease stays."""


Step = Callable[[], None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """What happens while attempts are at work: each takes the first step from the list, and then replays no call."""
    steps: list[Step] = []

    def replayable(**_: object) -> list[CallSample]:
        if steps:
            steps.pop(0)()
        return []

    monkeypatch.setattr(samples, "replayable", replayable)
    return steps


def killed() -> None:
    raise Killed


@pytest.mark.parametrize("failure", [None, RuntimeError("too late")])
def test_a_lost_worker_gives_its_place_to_the_next_attempt_and_can_write_nothing_more(
    asked: Rehearsal, monkeypatch: pytest.MonkeyPatch, meanwhile: list[Step], failure: Exception | None
) -> None:
    written: list[Rehearsal] = []

    def another_takes_over() -> None:
        rehearsal_jobs.run(asked.pk)
        asked.refresh_from_db()
        assert (asked.state, asked.attempt) == ("processing", 1), "one attempt is at work, and no other begins"
        assert rehearsal_jobs.sweep() == 0
        later(monkeypatch, rehearsal_jobs.LEASE + dt.timedelta(seconds=1))
        assert rehearsal_jobs.sweep() == 1
        rehearsal_jobs.run(asked.pk)
        written.append(Rehearsal.objects.get(pk=asked.pk))
        later(monkeypatch, 2 * rehearsal_jobs.LEASE)
        if failure is not None:
            raise failure

    meanwhile.append(another_takes_over)
    rehearsal_jobs.run(asked.pk)
    (heirs,) = written
    assert (heirs.state, heirs.attempt, heirs.error) == ("succeeded", 2, "")
    asked.refresh_from_db()
    assert (asked.state, asked.attempt, asked.report, asked.error) == ("succeeded", 2, heirs.report, "")
    assert asked.finished_at == heirs.finished_at


def test_only_one_rehearsal_is_at_work(asked: Rehearsal, globex: Customer, meanwhile: list[Step]) -> None:
    globex.tenant.keeps_calls = True
    globex.tenant.save()
    second = rehearsal_jobs.request(schedule_id=asked.schedule_id, tenant=globex.tenant)

    def the_second_is_tried() -> None:
        rehearsal_jobs.run(second.pk)
        second.refresh_from_db()
        assert (second.state, second.attempt) == ("queued", 0)

    meanwhile.append(the_second_is_tried)
    rehearsal_jobs.run(asked.pk)
    asked.refresh_from_db()
    assert (asked.state, meanwhile) == ("succeeded", [])
    rehearsal_jobs.run(second.pk)
    second.refresh_from_db()
    assert second.state == "succeeded"


def test_after_three_lost_workers_it_fails_with_the_reason(
    asked: Rehearsal, monkeypatch: pytest.MonkeyPatch, meanwhile: list[Step]
) -> None:
    for _ in range(MAX_ATTEMPTS):
        meanwhile.append(killed)
        with pytest.raises(Killed):
            rehearsal_jobs.run(asked.pk)
        later(monkeypatch, rehearsal_jobs.LEASE + dt.timedelta(seconds=1))
    meanwhile.append(killed)
    rehearsal_jobs.run(asked.pk)
    assert meanwhile == [killed], "no fourth attempt begins"
    assert rehearsal_jobs.sweep() == 1
    asked.refresh_from_db()
    assert (asked.state, asked.verdict) == ("failed", "")
    assert "lost at each of 3 attempts" in asked.error
    assert asked.finished_at is not None
    assert rehearsal_jobs.sweep() == 0
    rehearsal_jobs.request(schedule_id=asked.schedule_id, tenant=asked.tenant)


def test_without_a_gpu_worker_it_is_tried_three_times_and_fails_with_the_reason(
    acme: Customer, demo_models: None, asked: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(replaying, "wait_for_idle_workers", lambda: False)
    states = []
    for _ in range(MAX_ATTEMPTS + 1):
        rehearsal_jobs.run(asked.pk)
        asked.refresh_from_db()
        states.append((asked.state, asked.attempt))
    assert states == [("queued", 1), ("queued", 2), ("failed", 3), ("failed", 3)]
    assert "No GPU worker answered" in asked.error
    ledger.assert_untouched(acme)


def test_a_mistake_of_ours_is_logged_and_the_customer_reads_nothing_of_it(
    asked: Rehearsal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: object) -> None:
        raise ConnectionError("redis at 10.0.0.7 is away")

    monkeypatch.setattr(samples, "replayable", broken)
    rehearsal_jobs.run(asked.pk)
    asked.refresh_from_db()
    assert (asked.state, asked.attempt, asked.error) == ("queued", 1, "The service failed; its log says why.")
    assert "10.0.0.7" in caplog.text


def test_a_rehearsal_that_is_gone_or_over_is_passed_over(asked: Rehearsal) -> None:
    rehearsal_jobs.run(999_999)
    Rehearsal.objects.update(state=RehearsalState.FAILED)
    rehearsal_jobs.run(asked.pk)
    asked.refresh_from_db()
    assert (asked.state, asked.attempt) == ("failed", 0)
    assert catalogue.current().api_versions["v1"].schedule is not None


def test_a_call_whose_text_v1_cuts_is_told_to_fail_on_v2(
    acme: Customer, globex: Customer, live_worker: LiveWorker, ending: DeprecationSchedule
) -> None:
    long = "The delivery was quick and the lamp is beautiful. " * 40
    recorded = Api(globex).post("/v1/predict", {"model": "sentiment", "input": long})
    assert recorded.status == 200
    keep(acme, recorded.body, text=long)
    keep(acme, recorded.body, text=long, body={"model": "sentiment", "input": TEXT})
    _, made = rehearse(acme, ending)
    assert (made.calls, made.failed) == (2, 1)
    (failure,) = made.failures
    assert (failure.kind, failure.field, failure.calls) == ("invalid-input", "input", 1)
    assert "tokens" in str(failure)
