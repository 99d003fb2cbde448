"""What operators see of batches names no tenant's private model."""

from dataclasses import replace

from prometheus_client import REGISTRY

from mlplatform.lib import tally
from tests.inference.batching.conftest import Make
from tests.inference.batching.wire import MODEL, Wire, item, outcome
from tests.inference.inputs.test_canonical import reference

METRICS = ("mlplatform_batch_size_inputs", "mlplatform_batch_seconds")


def count(metric: str, model: str) -> float | None:
    tally.flush()
    return REGISTRY.get_sample_value(f"{metric}_count", {"model": model})


def test_private_models_are_counted_as_one(make: Make, wire: Wire) -> None:
    batcher = make()
    before = {metric: count(metric, "private") or 0.0 for metric in METRICS}
    public = {metric: count(metric, MODEL.name) or 0.0 for metric in METRICS}
    for number, name in enumerate(("acme-secret", "globex-secret"), start=11):
        work = item(name)
        batcher.submit([(replace(reference(version_id=number), name=name, owner_id=number), [work])])
        wire.answer(wire.next())
        assert outcome(work) == name.encode()
    work = item("a")
    batcher.submit([(MODEL, [work])])
    wire.answer(wire.next())
    assert outcome(work) == b"a"
    for metric in METRICS:
        assert count(metric, "private") == before[metric] + 2
        assert count(metric, MODEL.name) == public[metric] + 1
        assert count(metric, "acme-secret") is None
