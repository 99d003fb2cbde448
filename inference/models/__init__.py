"""The models on sale and their versions, and what is remembered of versions that end."""

from inference.models.lifecycle import CallSample, Notice, Rehearsal, RehearsalState, Verdict
from inference.models.ml_model import MLModel
from inference.models.model_version import ModelVersion, RuntimeName, VersionState

__all__ = [
    "CallSample",
    "MLModel",
    "ModelVersion",
    "Notice",
    "Rehearsal",
    "RehearsalState",
    "RuntimeName",
    "Verdict",
    "VersionState",
]
