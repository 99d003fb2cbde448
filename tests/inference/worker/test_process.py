"""What a worker does with a batch: answers, settles once, keeps; and what fails, fails alone."""

import datetime as dt
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from billing import admission, charging, contracts
from billing.metering import ledger as metering_ledger
from inference.batching.messages import TOO_LATE, BatchMessage, BatchReply, ItemMessage, decode_reply
from inference.models import MLModel, ModelVersion, Promotion, Rollout
from inference.registry import versions
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import LoadError, RuntimeSpec
from inference.worker import worker_name
from inference.worker.loaded_models import key_of
from inference.worker.model_loader import standing_by
from inference.worker.process import Worker
from inference.worker.reporter import ReportingThread
from mlplatform.lib import clock, redis
from mlplatform.lib.ids import hex_id
from tenants.authentication import authenticate
from tests.conftest import Customer, make_customer
from tests.support import ledger
from tests.support.cached import get_many
from tests.support.reporting import ReportsAtOnce
from tests.support.tiny_model import POISON, TinyRuntime, TinyWorker, make_version

REPLY_TO = "reply:test"


def held(customer: Customer, units: int = 10) -> str:
    """Admit one charge; gives its hold."""
    contract = contracts.contract_of(authenticate(customer.secret, address="192.0.2.1"))
    record = charging.record(
        contract=contract, request_id="req", operation="predict", model="tiny", model_version="1.0.0", api_version="v2",
        inputs=1, cached=False, requests=1, held_units=units, client="",
    )  # fmt: skip
    hold_id = hex_id()
    admission.admit(
        subject=contract.subject,
        limits=contract.limits,
        charges=[admission.Charge(hold_id, "tiny", units, 1, record)],
        request_id="req",
        hold_ttl_s=60,
        month_to_date=metering_ledger.month_to_date,
    )
    return hold_id


def batch(version: ModelVersion, *items: tuple[str, str, Customer], **changes: object) -> BatchMessage:
    fields: dict[str, Any] = {
        "batch_id": "batch-1",
        "version_id": version.pk,
        "digest": version.sha256,
        "reply_to": REPLY_TO,
        "deadline": clock.now().timestamp() + 30,
        "cache_ttl_s": 60,
        "items": [
            ItemMessage(b"t" + text.encode(), text.encode(), hold, customer.tenant.pk, customer.tenant.shard)
            for text, hold, customer in items
        ],
    }
    return BatchMessage(**(fields | changes))


def replies() -> list[BatchReply]:
    return [decode_reply(redis.as_bytes(body)) for body in redis.state().lrange(REPLY_TO, 0, -1)]


@pytest.fixture
def version(db: None) -> ModelVersion:
    return make_version()


@pytest.fixture
def runtime(tiny_worker: TinyWorker, version: ModelVersion) -> TinyRuntime:
    return tiny_worker.serve(version)


def test_a_batch_of_two_tenants_is_answered_settled_and_kept(
    acme: Customer, globex: Customer, tiny_worker: TinyWorker, version: ModelVersion, runtime: TinyRuntime
) -> None:
    message = batch(version, ("a", held(acme), acme), ("bb", held(globex), globex), ("ccc", held(acme), acme))
    tiny_worker.worker.run_batch(message)
    (reply,) = replies()
    assert (reply.batch_id, reply.error, len(reply.results)) == ("batch-1", "", 3)
    assert (ledger.units(acme.tenant), ledger.units(globex.tenant)) == (20, 10)
    kept = get_many([b"a", b"bb", b"ccc"])
    assert [kept[key].scores for key in (b"a", b"bb", b"ccc")] == reply.results
    assert 0 < redis.state().ttl(REPLY_TO) <= 60
    assert tiny_worker.worker.heartbeat.batches == 1
    assert tiny_worker.worker.heartbeat.batch_s >= reply.compute_s > 0


def test_metrics_do_not_name_private_models(acme: Customer, tiny_worker: TinyWorker, version: ModelVersion) -> None:
    MLModel.objects.update(owner=acme.tenant)
    version.model.refresh_from_db()

    def counted(model: str) -> float:
        return REGISTRY.get_sample_value("mlplatform_worker_inputs_total", {"model": model}) or 0

    named, private = counted("tiny"), counted("private")
    tiny_worker.serve(version)
    tiny_worker.worker.run_batch(batch(version, ("a", held(acme), acme)))
    assert (counted("tiny"), counted("private")) == (named, private + 1)


def test_an_unbilled_input_shares_a_batch_with_one_that_is_charged(
    acme: Customer, globex: Customer, tiny_worker: TinyWorker, version: ModelVersion, runtime: TinyRuntime
) -> None:
    paid = ItemMessage(b"ta", b"a", held(acme), acme.tenant.pk, acme.tenant.shard)
    unbilled = ItemMessage(b"tbb", b"", "", globex.tenant.pk, globex.tenant.shard)
    tiny_worker.worker.run_batch(batch(version, items=[paid, unbilled]))
    (reply,) = replies()
    assert None not in reply.results
    assert ledger.units(acme.tenant) == 10
    ledger.assert_untouched(globex)
    assert list(get_many([b"a", b""])) == [b"a"]


def test_a_batch_that_comes_twice_is_charged_once(
    acme: Customer, tiny_worker: TinyWorker, version: ModelVersion, runtime: TinyRuntime
) -> None:
    message = batch(version, ("a", held(acme), acme))
    tiny_worker.worker.run_batch(message)
    tiny_worker.worker.run_batch(message)
    first, second = replies()
    assert first.results == second.results
    assert ledger.units(acme.tenant) == 10


def test_batches_that_are_sent_ahead_are_charged_once(
    acme: Customer, globex: Customer, tiny_worker: TinyWorker, version: ModelVersion, runtime: TinyRuntime
) -> None:
    thread = ReportingThread()
    worker = Worker(reporter=thread)
    worker.models.put(key_of(version.pk, version.sha256), CheckedRuntime(runtime.spec, runtime))
    try:
        for number in range(6):
            message = batch(version, ("a", held(acme), acme), ("bb", held(globex), globex), batch_id=f"batch-{number}")
            worker.run_batch(message)
            worker.run_batch(message)
        worker.run_batch(batch(version, (POISON, held(acme), acme), ("a", held(acme), acme), batch_id="batch-6"))
    finally:
        thread.close()
    answered = sorted(reply.batch_id for reply in replies())
    assert answered == sorted([*(f"batch-{number}" for number in range(6) for _ in range(2)), "batch-6"])
    assert (ledger.units(acme.tenant), ledger.units(globex.tenant)) == (70, 60)


def test_a_poisoned_input_fails_alone(
    acme: Customer, globex: Customer, tiny_worker: TinyWorker, version: ModelVersion, runtime: TinyRuntime
) -> None:
    message = batch(version, ("a", held(acme), acme), (POISON, held(globex), globex), ("b", held(acme), acme))
    tiny_worker.worker.run_batch(message)
    (reply,) = replies()
    assert [result is None for result in reply.results] == [False, True, False]
    assert (reply.problems, reply.error) == ({1: "ValueError: this input is poison"}, "")
    assert (ledger.units(acme.tenant), ledger.units(globex.tenant)) == (20, 0)
    assert sorted(get_many([b"a", POISON.encode(), b"b"])) == [b"a", b"b"]


def test_a_batch_of_one_poisoned_input_is_a_reply_too(
    acme: Customer, tiny_worker: TinyWorker, version: ModelVersion, runtime: TinyRuntime
) -> None:
    tiny_worker.worker.run_batch(batch(version, (POISON, held(acme), acme)))
    (reply,) = replies()
    assert reply.results == [None]
    assert (reply.error, reply.problems[0]) == ("", "ValueError: this input is poison")
    assert ledger.units(acme.tenant) == 0


def test_a_late_batch_is_skipped_and_the_asking_process_is_told(
    acme: Customer, tiny_worker: TinyWorker, version: ModelVersion, runtime: TinyRuntime
) -> None:
    before = REGISTRY.get_sample_value("mlplatform_worker_batches_skipped_total") or 0
    late = batch(version, ("a", held(acme), acme), deadline=clock.now().timestamp())
    tiny_worker.worker.run_batch(late)
    assert [(reply.error, reply.results) for reply in replies()] == [(TOO_LATE, [None])]
    assert (runtime.computed, ledger.units(acme.tenant)) == ([], 0)
    assert REGISTRY.get_sample_value("mlplatform_worker_batches_skipped_total") == before + 1


def test_what_was_released_meanwhile_is_not_charged(
    acme: Customer, tiny_worker: TinyWorker, version: ModelVersion, runtime: TinyRuntime
) -> None:
    hold = held(acme)
    admission.release(shard=acme.tenant.shard, tenant_id=acme.tenant.pk, hold_ids=[hold])
    tiny_worker.worker.run_batch(batch(version, ("a", hold, acme)))
    assert len(replies()) == 1
    assert ledger.units(acme.tenant) == 0


def test_an_input_that_must_not_be_kept_is_not(
    acme: Customer, tiny_worker: TinyWorker, version: ModelVersion, runtime: TinyRuntime
) -> None:
    item = ItemMessage(b"ta", b"", held(acme), acme.tenant.pk, acme.tenant.shard)
    tiny_worker.worker.run_batch(batch(version, items=[item]))
    assert len(replies()) == 1
    assert redis.cache().dbsize() == 0


def test_a_tensor_arrives_as_the_array_that_the_schema_declares(
    acme: Customer, tiny_worker: TinyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inference.inputs import canonical

    schema = {"kind": "tensor", "dtype": "float32", "shape": [2, 2]}
    version = make_version("grid", input_schema=schema)
    runtime = tiny_worker.serve(version)
    payload = canonical.encode(schema, [[1, 2], [3, 4.5]], field="input")
    item = ItemMessage(payload, b"", held(acme), acme.tenant.pk, acme.tenant.shard)
    tiny_worker.worker.run_batch(batch(version, items=[item]))
    assert replies()[0].error == ""
    assert runtime.computed == ["[[1.  2. ]\n [3.  4.5]]"]


@pytest.mark.parametrize("changes", [{"version_id": 4_000_000}, {"digest": "ff" * 32}])
def test_a_batch_for_an_artefact_that_is_not_there_fails_and_is_not_charged(
    acme: Customer, tiny_worker: TinyWorker, version: ModelVersion, changes: dict[str, object]
) -> None:
    fields = {"digest": "ee" * 32} | changes
    tiny_worker.worker.run_batch(batch(version, ("a", held(acme), acme), **fields))
    (reply,) = replies()
    assert reply.results == [None]
    assert reply.error
    assert ledger.units(acme.tenant) == 0
    assert get_many([b"a"]) == {}


@pytest.mark.django_db(transaction=True)
def test_verification_tells_the_registry_why_a_version_does_not_load() -> None:
    version = make_version(state="staged", digest="00" * 32)
    Worker().verify(version.pk)
    version.refresh_from_db()
    assert version.state == "staged"
    assert "ArtefactError" in version.load_error


def test_verification_makes_a_version_that_loads_ready(tiny_worker: TinyWorker, db: None) -> None:
    version = make_version(state="staged")
    tiny_worker.serve(version)
    tiny_worker.worker.verify(version.pk)
    version.refresh_from_db()
    assert (version.state, version.load_error) == ("ready", "")


def card_of(version: ModelVersion, *, text: str, yes: float) -> dict[str, Any]:
    """The card of a tiny version whose one example expects this share for ``yes``."""
    return {
        "name": version.model.name,
        "version": version.version,
        "runtime": "text-classification",
        "licence": "MIT",
        "labels": ["yes", "no"],
        "input": {"max_chars": 100},
        "examples": [{"input": text, "output": [yes, 1 - yes]}],
    }


@pytest.mark.parametrize(("yes", "state"), [(4 / 128, "ready"), (0.5, "staged")])
def test_verification_runs_the_examples_of_the_card(tiny_worker: TinyWorker, db: None, yes: float, state: str) -> None:
    version = make_version(state="staged")
    ModelVersion.objects.filter(pk=version.pk).update(card=card_of(version, text="four", yes=yes))
    tiny_worker.serve(version)
    tiny_worker.worker.verify(version.pk)
    version.refresh_from_db()
    assert version.state == state
    assert ("examples[0]" in version.load_error) == (state == "staged"), version.load_error


@pytest.fixture
def started() -> Iterator[Worker]:
    """A worker that was started; what it claimed and said is gone afterwards."""
    worker = Worker(reporter=ReportsAtOnce())
    yield worker
    worker.stop()
    worker_name.let_go()


@pytest.mark.django_db(transaction=True)
def test_a_worker_starts_even_if_a_live_version_does_not_load(
    started: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    make_version()
    started.start()
    assert "could not be loaded; the worker serves the others" in caplog.text
    assert "ArtefactError" in caplog.text
    assert redis.state().hexists("workers:alive", started.heartbeat.name)


@pytest.mark.django_db(transaction=True)
def test_a_version_that_was_not_verified_when_the_worker_stopped_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = make_version(state="staged")
    asked: list[ModelVersion] = []
    monkeypatch.setattr("inference.registry.versions.request_verification", lambda version: asked.append(version))
    worker = Worker(reporter=ReportsAtOnce())
    worker.verify_soon(version.pk)
    worker.stop()
    assert asked == [version]


def loading_nothing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Models that load at once, whatever lies in their folders; gives the references in the order of loading."""
    order: list[str] = []

    def load(spec: RuntimeSpec, *, runtime: object = None) -> CheckedRuntime:
        order.append(f"{spec.name}@{spec.version}")
        return CheckedRuntime(spec, TinyRuntime(spec, threading.Event()))

    monkeypatch.setattr("inference.runtimes.loading.load", load)
    return order


def test_only_what_the_catalogue_wants_of_its_pools_is_prepared(
    tiny_worker: TinyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, ready = make_version("a"), make_version("a", "2.0.0", state="ready")
    elsewhere = make_version("b")
    MLModel.objects.filter(name="b").update(pool="large")
    candidate = make_version("c", state="ready")
    make_version("c", "0.9.0")
    Rollout.objects.create(model=candidate.model, candidate=candidate, kind="shadow")
    versions.forget()
    order = loading_nothing(monkeypatch)
    tiny_worker.worker.prepare()
    assert order == ["a@1.0.0", "c@0.9.0", "c@1.0.0"]
    tiny_worker.worker.prepare()
    assert len(order) == 3
    assert {model.reference for model in tiny_worker.worker.models.report() if model.wanted} == set(order)
    versions.promote(version=ready)
    versions.forget()
    tiny_worker.worker.prepare()
    assert order[3:] == ["a@2.0.0"]
    assert tiny_worker.worker.models.find(key_of(live.pk, live.sha256)) is not None
    assert tiny_worker.worker.models.find(key_of(elsewhere.pk, elsewhere.sha256)) is None


def test_what_was_live_within_a_day_stands_by(tiny_worker: TinyWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    make_version("a")
    new = make_version("a", "2.0.0", state="ready")
    own = make_version("own", state="ready")
    MLModel.objects.filter(name="own").update(owner=make_customer("acme").tenant)
    never = make_version("a", "3.0.0", state="ready")
    versions.promote(version=new)
    versions.promote(version=own)
    versions.forget()
    order = loading_nothing(monkeypatch)
    tiny_worker.worker.prepare(with_standby=False)
    assert order == ["a@2.0.0"], "a worker that starts loads first what it must"
    tiny_worker.worker.prepare()
    assert order == ["a@2.0.0", "acme/own@1.0.0", "a@1.0.0"]
    assert tiny_worker.worker.models.find(key_of(never.pk, never.sha256)) is None
    Promotion.objects.update(at=clock.now() - dt.timedelta(days=1, seconds=1))
    versions.forget()
    assert [ref.version_id for ref in standing_by(["gpu"])] == []


def test_what_does_not_load_is_left_alone_for_a_while(tiny_worker: TinyWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    make_version()
    tries: list[str] = []

    def broken(spec: RuntimeSpec) -> CheckedRuntime:
        tries.append(spec.name)
        raise LoadError("no weights")

    monkeypatch.setattr("inference.runtimes.loading.load", broken)
    now = clock.monotonic()
    tiny_worker.worker.prepare()
    tiny_worker.worker.prepare()
    assert tries == ["tiny"]
    monkeypatch.setattr(clock, "monotonic", lambda: now + 3600)
    tiny_worker.worker.prepare()
    assert tries == ["tiny"] * 2


def test_a_model_is_run_by_one_thread_at_a_time(
    acme: Customer, tiny_worker: TinyWorker, version: ModelVersion, runtime: TinyRuntime
) -> None:
    """A version is verified beside the batches; where both run one model they must not run it at once."""
    loaded = tiny_worker.worker.models.find(key_of(version.pk, version.sha256))
    assert loaded is not None
    message = batch(version, ("good", "", acme))
    with loaded.one_at_a_time:
        computing = threading.Thread(target=tiny_worker.worker.run_batch, args=(message,))
        computing.start()
        computing.join(0.2)
        assert (computing.is_alive(), runtime.computed) == (True, [])
    computing.join(30)
    assert runtime.computed == ["good"]
    assert [reply.results != [None] for reply in replies()] == [True]


def test_a_version_has_a_verdict_whatever_ended_its_verification(
    tiny_worker: TinyWorker, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Panic(BaseException):
        pass

    def panic(*_: object) -> None:
        raise Panic("retry limit")

    version = make_version(state="staged")
    ModelVersion.objects.filter(pk=version.pk).update(card=card_of(version, text="four", yes=4 / 128))
    tiny_worker.serve(version)
    monkeypatch.setattr("inference.worker.process.examples.check", panic)
    with pytest.raises(Panic):
        tiny_worker.worker.verify(version.pk)
    version.refresh_from_db()
    assert (version.state, version.load_error) == ("staged", "Panic: retry limit")
