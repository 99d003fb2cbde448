"""The workers that compute a model which names no others. A module of its own: cards of packages are read without Django."""

from typing import Final

DEFAULT_POOL: Final = "gpu"
"""A pool is a Celery queue, and has its name."""
