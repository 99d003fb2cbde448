"""A model with a live version and a candidate whose answers can be told apart, slowed down and broken."""

import datetime as dt
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from billing.models import VersionUse
from inference.models import ModelVersion
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import Array, Input, RuntimeSpec
from inference.worker.loaded_models import key_of
from mlplatform.lib import clock
from tenants.models import Event, Tenant
from tests.support.tiny_model import TinyWorker, make_version

LIVE_SAYS, CANDIDATE_SAYS = 0.75, 0.25


@dataclass
class SaysOne:
    """Gives every input the same share of ``yes``; ``broken`` makes it raise, whatever it is asked."""

    spec: RuntimeSpec
    share: float
    broken: bool = False
    computed: list[str] = field(default_factory=list)
    may_go: threading.Event = field(default_factory=threading.Event)

    def load(self, spec: RuntimeSpec) -> None: ...

    def warmup(self) -> None: ...

    def forward(self, inputs: Sequence[Input]) -> Array:
        assert self.may_go.wait(30)
        if self.broken:
            raise ValueError("this version is broken")
        self.computed.extend(str(text) for text in inputs)
        return np.array([[self.share, 1 - self.share]] * len(inputs), dtype=np.float32)


@dataclass
class Pair:
    """``reviews@1.0.0`` is live and says 0.75, ``reviews@2.0.0`` is ready and says 0.25."""

    live: ModelVersion
    candidate: ModelVersion
    of_live: SaysOne
    of_candidate: SaysOne


def serve(worker: TinyWorker, version: ModelVersion, share: float) -> SaysOne:
    """Have the worker hold the version as a runtime that says this share."""
    spec = worker.worker.spec(version)
    runtime = SaysOne(spec, share)
    runtime.may_go.set()
    worker.worker.models.put(key_of(version.pk, version.sha256), CheckedRuntime(spec, runtime))
    return runtime


def make_pair(worker: TinyWorker, **fields: Any) -> Pair:
    live = make_version("reviews", **fields)
    candidate = make_version("reviews", "2.0.0", "ready", **fields)
    return Pair(live, candidate, serve(worker, live, LIVE_SAYS), serve(worker, candidate, CANDIDATE_SAYS))


def used(model: str, tenants: Iterable[Tenant], *, days_ago: int = 0) -> None:
    """As if these tenants had called the model then."""
    moment = clock.now() - dt.timedelta(days=days_ago)
    for tenant in tenants:
        VersionUse.objects.create(
            day=moment.date(),
            tenant=tenant,
            model=model,
            model_version="1.0.0",
            calls=1,
            version_calls=1,
            last_call_at=moment,
        )


def heard(tenant: Tenant) -> list[str]:
    """What the tenant was told of model versions, in order."""
    types = Event.objects.filter(tenant=tenant, type__startswith="model.").order_by("occurred_at", "pk")
    return [f"{row.type.removeprefix('model.version.')} {row.data['version']}" for row in types]


__all__ = ["CANDIDATE_SAYS", "LIVE_SAYS", "Pair", "SaysOne", "heard", "make_pair", "serve", "used"]
