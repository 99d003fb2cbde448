"""The staff's pages of models, their versions, the ends of versions, and audiences. Importing this registers them."""

from inference.admin import audience, lifecycle, ml_models, versions

__all__ = ["audience", "lifecycle", "ml_models", "versions"]
