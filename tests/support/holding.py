"""Tests of other things take a worker for granted that holds every version; those of promotion itself ask the reports."""

from typing import Final

import pytest

from inference.fleet import workers
from inference.fleet.workers import Heartbeat, LoadedModel
from inference.models import ModelVersion
from inference.registry.rollouts import holding

_REAL: Final = holding.holders


def take_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every version is held."""
    monkeypatch.setattr(holding, "holders", lambda version: ["a-worker"])


@pytest.fixture
def reports_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a worker reports is held."""
    monkeypatch.setattr(holding, "holders", _REAL)


def report(*versions: ModelVersion, name: str = "gpu-1@here", pool: str = "gpu") -> Heartbeat:
    """A worker of this pool says now that it holds these versions and no others."""
    beat = Heartbeat(queue=pool, device="cpu", name=name)
    beat.loaded = lambda: [LoadedModel(str(version)) for version in versions]
    beat.beat()
    assert name in {info.name for info in workers.alive()}
    return beat
