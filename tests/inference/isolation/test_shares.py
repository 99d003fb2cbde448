"""What the models of a tenant may take of a worker together, with processes that are there: who makes room, and whose ends."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from billing.models import Plan
from inference.isolation.forks import forker
from inference.models import MLModel, ModelVersion
from inference.runtimes.protocol import RuntimeSpec
from inference.worker.loaded_models import LoadedModels
from inference.worker.shares import OverQuota
from tests.conftest import Customer
from tests.inference.isolation.test_isolated import gone
from tests.support import hf_folders, hostile
from tests.support.waiting import until

pytestmark = pytest.mark.django_db


@pytest.fixture
def models(tmp_path: Path, settings: Settings) -> Iterator[LoadedModels]:
    """A worker's, that has room for all; each model may take 600 MB and a little for its files."""
    settings.PRIVATE_MODEL_MEMORY_MB = 600
    folder = hostile.write(tmp_path, {})

    def spec_of(version: ModelVersion) -> RuntimeSpec:
        return hostile.spec(folder)

    yield LoadedModels(device="cpu", budget_bytes=2**33, spec_of=spec_of)
    forker.stop()


def version(customer: Customer, name: str) -> ModelVersion:
    """One that was not saved."""
    return ModelVersion(model=MLModel(name=name, owner=customer.tenant), version="1.0.0", sha256=name * 8)


def pid(models: LoadedModels, one: ModelVersion) -> int:
    """Of the process that computes it, loaded now if it is not. No reference to the model stays here, which would keep it."""
    runtime = models.get(one).runtime
    assert len(runtime.run(hf_folders.TEXTS)) == len(hf_folders.TEXTS)
    found = runtime._runtime.pid  # type: ignore[attr-defined]
    assert isinstance(found, int)
    assert found != os.getpid()
    return found


def test_the_process_of_the_owners_least_used_model_ends(
    acme: Customer, globex: Customer, models: LoadedModels
) -> None:
    Plan.objects.filter(pk=acme.plan.pk).update(model_memory_mb=1300)
    first, second, third = (version(acme, name) for name in "abc")
    pids = {name: pid(models, one) for name, one in (("a", first), ("b", second), ("g", version(globex, "g")))}
    assert len(set(pids.values())) == 3
    assert pid(models, first) == pids["a"], "it is used again, so the other goes"
    pid(models, third)
    assert until(lambda: gone(pids["b"]), bool)
    assert not gone(pids["a"])
    assert not gone(pids["g"]), "of another tenant"
    assert sorted(model.reserved_bytes // 2**20 for model in models.report()) == [600, 600, 600]


def test_a_smaller_plan_is_heeded_at_the_next_load(acme: Customer, models: LoadedModels) -> None:
    first = pid(models, version(acme, "a"))
    Plan.objects.filter(pk=acme.plan.pk).update(model_memory_mb=500)
    with pytest.raises(OverQuota, match="all models of this tenant together 500 MB"):
        models.get(version(acme, "b"))
    assert not gone(first)
