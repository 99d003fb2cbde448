"""The worker with a tiny model, for the tests of this folder."""

from tests.support.tiny_model import tiny_worker

__all__ = ["tiny_worker"]
