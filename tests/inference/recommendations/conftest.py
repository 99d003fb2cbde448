"""A real worker with the real models."""

from tests.support.live_worker import demo_models, live_worker

__all__ = ["demo_models", "live_worker"]
