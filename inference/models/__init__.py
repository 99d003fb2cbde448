"""The models on sale and their versions, what is remembered of versions that end, and the audiences of tenants."""

from inference.models.audience import EndUser, Item, Like
from inference.models.lifecycle import CallSample, Notice, Rehearsal, RehearsalState, Verdict
from inference.models.ml_model import MLModel
from inference.models.model_version import ModelVersion, RuntimeName, VersionState

__all__ = [
    "CallSample",
    "EndUser",
    "Item",
    "Like",
    "MLModel",
    "ModelVersion",
    "Notice",
    "Rehearsal",
    "RehearsalState",
    "RuntimeName",
    "Verdict",
    "VersionState",
]
