"""The models on sale, and their versions."""

from inference.models.ml_model import MLModel
from inference.models.model_version import ModelVersion, RuntimeName, VersionState

__all__ = ["MLModel", "ModelVersion", "RuntimeName", "VersionState"]
