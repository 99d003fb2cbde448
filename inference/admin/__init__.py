"""The staff's pages of models, their versions, the ends of versions, and audiences. Importing this registers them."""

from inference.admin import audience, deprecations, ml_models, versions

__all__ = ["audience", "deprecations", "ml_models", "versions"]
