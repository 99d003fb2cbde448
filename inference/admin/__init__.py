"""The staff's pages of models, their versions, and the ends of versions. Importing this registers them."""

from inference.admin import lifecycle, ml_models, versions

__all__ = ["lifecycle", "ml_models", "versions"]
