"""API version v1: the best label of a classification and how sure the model is."""

from typing import Final

from inference.api_versions.description import ApiDescription

VERSION: Final = ApiDescription("v1")
