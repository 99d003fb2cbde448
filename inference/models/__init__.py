"""The models on sale and their versions, what is remembered of versions that end, and the audiences of tenants."""

from inference.models.audience import EndUser, Item, Like
from inference.models.lifecycle import CallSample, Notice, Rehearsal, RehearsalState, Verdict
from inference.models.measurement import Measurement
from inference.models.ml_model import MLModel
from inference.models.model_version import ModelVersion, VersionState
from inference.models.rollout import Promotion, PromotionReason, Rollout, RolloutKind, RolloutState

__all__ = [
    "CallSample",
    "EndUser",
    "Item",
    "Like",
    "MLModel",
    "Measurement",
    "ModelVersion",
    "Notice",
    "Promotion",
    "PromotionReason",
    "Rehearsal",
    "RehearsalState",
    "Rollout",
    "RolloutKind",
    "RolloutState",
    "Verdict",
    "VersionState",
]
