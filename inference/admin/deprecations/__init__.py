"""The staff's pages of API versions and of schedules by which they and model versions end. Importing this registers them."""

from inference.admin.deprecations import api_versions, schedules

__all__ = ["api_versions", "schedules"]
