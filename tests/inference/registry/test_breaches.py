"""A tenant's model that breaks its limits twice is out of service, and its owner knows why."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from inference.batching.messages import ItemMessage
from inference.isolation.isolated import LimitBroken
from inference.models import MLModel, ModelVersion, Rollout, RolloutKind, RolloutState
from inference.registry import versions
from inference.registry.packages import storage
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import Array, Input
from inference.worker import executor
from inference.worker.loaded_models import key_of
from tenants.models import Event
from tests.conftest import Customer
from tests.support import ledger
from tests.support.models_folder import models_dir
from tests.support.rest import Api
from tests.support.tiny_model import TinyRuntime, TinyWorker, make_version
from tests.support.waiting import until

__all__ = ["models_dir"]

GREEDY = "greedy"


class Limited(TinyRuntime):
    """Breaks a limit on one text."""

    asked = 0

    def forward(self, inputs: Sequence[Input]) -> Array:
        self.asked += 1
        if GREEDY in inputs:
            raise LimitBroken("The model took more memory than it may; its process was ended.")
        return super().forward(inputs)


@pytest.fixture
def greedy(acme: Customer, tiny_worker: TinyWorker) -> ModelVersion:
    """A live version of acme's own model."""
    version = make_version("reviews")
    MLModel.objects.filter(pk=version.model_id).update(owner=acme.tenant)
    version.refresh_from_db()
    versions.forget()
    spec = tiny_worker.worker.spec(ModelVersion.objects.select_related("model").get(pk=version.pk))
    tiny_worker.worker.models.put(
        key_of(version.pk, version.sha256), CheckedRuntime(spec, Limited(spec, tiny_worker.go))
    )
    return version


def told(customer: Customer) -> list[tuple[str, object]]:
    events = Event.objects.filter(tenant=customer.tenant, type__startswith="model.version.").order_by("pk")
    return [(event.type.removeprefix("model.version."), event.data.get("out_of_service")) for event in events]


def breaches(version: ModelVersion) -> int:
    return ModelVersion.objects.values_list("breaches", flat=True).get(pk=version.pk)


def call(customer: Customer, text: str) -> int:
    return Api(customer).post("/v2/predict", {"model": "reviews", "input": text}).status


@pytest.mark.django_db(transaction=True)  # The worker's thread writes down what happened.
@pytest.mark.usefixtures("prices")
def test_the_second_time_it_is_out_of_service_and_its_owner_is_told(acme: Customer, greedy: ModelVersion) -> None:
    assert call(acme, GREEDY) == 422
    assert until(lambda: breaches(greedy), lambda seen: seen == 1) == 1
    greedy.refresh_from_db()
    assert greedy.state == "live"
    assert "more memory than it may" in greedy.load_error
    assert call(acme, "fine") == 200, "once is no reason yet"
    assert call(acme, GREEDY) == 422
    assert until(lambda: breaches(greedy), lambda seen: seen == 2) == 2
    greedy.refresh_from_db()
    assert greedy.state == "retired"
    assert "broke its limits 2 times" in greedy.load_error
    assert sorted(told(acme), key=str) == [("limit_broken", False), ("limit_broken", True), ("retired", None)]
    versions.forget()
    assert call(acme, "fine") == 404
    assert [record.body["inputs"] for record in ledger.records(acme.tenant)] == [1], (
        "what was answered, and nothing else"
    )


def test_a_batch_that_broke_a_limit_is_not_tried_in_halves(tiny_worker: TinyWorker, greedy: ModelVersion) -> None:
    loaded = tiny_worker.worker.models.find(key_of(greedy.pk, greedy.sha256))
    assert loaded is not None
    runtime = loaded.runtime._runtime
    assert isinstance(runtime, Limited)
    items = [ItemMessage(b"t" + text.encode(), b"", "", 1, 0) for text in ("a", GREEDY, "b", "c")]
    outcome = executor.compute(loaded.runtime, items)
    assert runtime.asked == 1
    assert sorted(outcome.problems) == [0, 1, 2, 3]
    assert outcome.limit_broken


def test_its_trials_end_and_its_files_go(
    acme: Customer, models_dir: Path, django_capture_on_commit_callbacks: Any
) -> None:
    live = make_version("reviews")
    MLModel.objects.filter(pk=live.model_id).update(owner=acme.tenant)
    path = storage.path_of(model="reviews", version="1.1.0", digest="ab" * 32)
    candidate = make_version("reviews", "1.1.0", "ready", digest="ab" * 32, artefact_path=path)
    (models_dir / path).mkdir(parents=True)
    (models_dir / path / "model.safetensors").write_bytes(b"weights")
    rollout = Rollout.objects.create(model=live.model, candidate=candidate, kind=RolloutKind.CANARY, percent=100)
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(3):
            versions.limit_broken(version_id=candidate.pk, reason="The model took longer than 10 s.")
    rollout.refresh_from_db()
    candidate.refresh_from_db()
    live.refresh_from_db()
    assert (rollout.state, candidate.state, candidate.breaches) == (RolloutState.STOPPED, "retired", 2)
    assert live.state == "live"
    assert not (models_dir / path).exists()


@pytest.mark.parametrize(
    ("owned", "for_good", "state", "kept"),
    [(True, True, "retired", False), (True, False, "staged", True), (False, True, "staged", True)],
)
def test_the_files_of_a_tenants_version_that_cannot_work_go(
    acme: Customer,
    models_dir: Path,
    django_capture_on_commit_callbacks: Any,
    owned: bool,
    for_good: bool,
    state: str,
    kept: bool,
) -> None:
    path = storage.path_of(model="reviews", version="1.0.0", digest="ab" * 32)
    version = make_version("reviews", state="staged", digest="ab" * 32, artefact_path=path)
    MLModel.objects.filter(pk=version.model_id).update(owner=acme.tenant if owned else None)
    (models_dir / path).mkdir(parents=True)
    (models_dir / path / "model.safetensors").write_bytes(b"weights")
    with django_capture_on_commit_callbacks(execute=True):
        versions.mark_verified(version_id=version.pk, error="LoadError: no such layer", for_good=for_good)
    version.refresh_from_db()
    assert (version.state, version.load_error) == (state, "LoadError: no such layer")
    assert (models_dir / path).exists() == kept
