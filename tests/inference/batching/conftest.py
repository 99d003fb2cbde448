"""Batchers whose worker is the test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from inference.batching import batcher as batcher_module
from inference.batching.batcher import Batcher
from tests.inference.batching.wire import Wire

Make = Callable[..., Batcher]


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def make(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(batcher_module, "LOOK_S", 0.005)
    monkeypatch.setattr(batcher_module, "LOSSES_S", 0.005)
    made: list[Batcher] = []

    def build(*, per_worker: int = 1, max_queued: int = 100, **more: Any) -> Batcher:
        made.append(Batcher(wire, per_worker=per_worker, max_queued=max_queued, **more))
        return made[-1]

    yield build
    for batcher in made:
        batcher.stop()
