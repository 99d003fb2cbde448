"""The real worker with the demo models, for the calls of these tests."""

from tests.support.live_worker import demo_models, live_worker

__all__ = ["demo_models", "live_worker"]
