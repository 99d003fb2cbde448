"""The staff's pages of models and their versions. Importing this registers them."""

from inference.admin import ml_models, versions

__all__ = ["ml_models", "versions"]
