"""Celery tasks of this app. The ``gpu`` ones run in one process a device; torch is imported only there."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from celery import shared_task
from celery.signals import worker_process_init, worker_ready, worker_shutdown

from inference.batching.messages import decode_batch
from inference.batching.transport import TASK
from inference.deprecations import tasks as deprecation_tasks  # noqa: F401 - Celery finds the tasks of each app through this module
from inference.deprecations.notices import sending as notices
from inference.deprecations.samples import store as samples
from inference.fleet.workers import JOBS, Heartbeat
from inference.trials import tasks as rollout_tasks  # noqa: F401 - as above
from inference.types import DEFAULT_POOL
from mlplatform.lib import background, collector

if TYPE_CHECKING:
    from inference.worker.process import Worker

_LOOK_AT_ORDERS_S: Final = 0.5


_pools: list[str] = []
"""The queues that this process consumes, known when it starts as a worker of models."""


@lru_cache(maxsize=1)
def _worker() -> "Worker":
    # Imported here, not above: web and beat processes import this module to know the tasks, and must not load torch.
    from inference.worker.process import Worker

    return Worker(pools=_pools or [DEFAULT_POOL])


@shared_task(name=TASK, acks_late=False, ignore_result=True, Strategy="inference.worker.celery_strategy:at_once")  # type: ignore[call-overload,untyped-decorator]
def run_batch(message: str) -> None:
    """Compute one batch and push its reply."""
    _worker().run_batch(decode_batch(message))


@shared_task(name="inference.verify_version", ignore_result=True)
def verify_version(version_id: int) -> None:
    """Load and warm a version; it becomes ready or shows why not."""
    _worker().verify_soon(version_id)


@shared_task(name="inference.tell_deprecations", ignore_result=True)
def tell_deprecations() -> None:
    """Tell what is due of every deprecation schedule; beat asks each minute."""
    notices.tell()


@shared_task(name=notices.SEND_TASK, ignore_result=True)
def send_notice(notice_id: int, attempt: int) -> None:
    """Send one attempt of the e-mail of a notice."""
    notices.send(notice_id=notice_id, attempt=attempt)


@shared_task(name="inference.purge_samples", ignore_result=True)
def purge_samples() -> None:
    """Forget sampled calls that are 30 days old."""
    samples.purge()


@lru_cache(maxsize=1)
def _jobs_heartbeat() -> Heartbeat:
    return Heartbeat(queue="jobs", device="cpu")


def _queues(consumer: Any) -> list[str]:
    return [queue.name for queue in consumer.task_consumer.queues]


@worker_ready.connect
def start(sender: Any, **_: Any) -> None:
    """Celery's own signal is the only hook at a worker's start: load models, then show that it lives.

    A worker of jobs consumes ``jobs`` alone; every other queue is a pool of models.
    """
    _pools[:] = [name for name in _queues(sender) if name != JOBS]
    if not _pools:
        _jobs_heartbeat().start()
        return
    worker = _worker()
    worker.heartbeat.concurrency = sender.pool.num_processes or 1
    worker.start()
    collector.calm()
    # On the event loop's own timer: a consumer must not be changed from another thread.
    sender.timer.call_repeatedly(_LOOK_AT_ORDERS_S, _heed_drain_order, (sender, worker.heartbeat))
    _heed_drain_order(sender, worker.heartbeat)


def _heed_drain_order(consumer: Any, heartbeat: Heartbeat) -> None:
    """Stop taking batches, or begin again, as staff want it; what is computed now is finished either way."""
    drained = heartbeat.drained  # once: another thread may hear of an order in between
    if consumer.task_consumer is None or bool(_queues(consumer)) != drained:
        return
    for pool in _pools:
        if drained:
            consumer.cancel_task_queue(pool)
        else:
            consumer.add_task_queue(pool)


@worker_shutdown.connect
def end(sender: Any, **_: Any) -> None:
    """Answer what was computed, and leave the list of living workers at once."""
    if _worker.cache_info().currsize:
        _worker().stop()
    if _jobs_heartbeat.cache_info().currsize:
        _jobs_heartbeat().end()
    background.finish()


@worker_process_init.connect
def forget_inherited(**_: Any) -> None:
    """A forked job process must not share the parent's Redis connections."""
    from mlplatform.lib import redis

    redis.state.cache_clear()
    redis.cache.cache_clear()
