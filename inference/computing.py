"""From admitted inputs to their scores: by the cache, by an equal computation that runs, or by the batcher and a worker."""

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from django.conf import settings

from billing import admission
from billing.contracts import Contract
from inference import cache, flights, giving_back
from inference.batching.batcher import Batcher
from inference.batching.transport import CeleryTransport
from inference.batching.work import Hold, WorkItem
from inference.preparing import Prepared, usable
from inference.types import CallContext
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable

logger = logging.getLogger(__name__)

_LATE: Final = "The model did not answer in time"
HOLD_MARGIN_S: Final = (
    15.0  # a hold outlives the caller's deadline, so that a late settle finds it or nobody has an answer
)


class Computation:
    """The inputs of admitted calls while they are computed: :meth:`begin`, then :meth:`finish` once, or :meth:`lose`."""

    def __init__(self, contract: Contract, good: Sequence[Prepared], context: CallContext, deadline: float) -> None:
        self._contract = contract
        self._good = good
        self._context = context
        self._deadline = deadline
        self._own: list[tuple[Prepared, WorkItem]] = []
        self._outcomes: dict[str, bytes | PlatformError] = {
            item.hold_id: item.entry.scores for item in good if item.entry is not None
        }

    def begin(self) -> None:
        """Submit what must be computed; returns at once. Whatever could not be queued has its problem in the end."""
        if len(self._outcomes) == len(self._good):
            return
        try:
            for item in self._good:
                if item.entry is None and item.joined is None:
                    self._begin_one(item)
            self._outcomes.update((item.hold_id, item.entry.scores) for item in self._good if item.entry is not None)
            try:
                _submit(self._own)
            except PlatformError as problem:
                self._outcomes.update((item.hold_id, problem) for item, _ in self._own)
                release(self._contract, *(item.hold_id for item, _ in self._own))
        except BaseException:
            self.lose()
            raise

    def finish(self) -> dict[str, bytes | PlatformError]:
        """Wait. Scores or the problem of each input, by hold id; what failed is released."""
        if len(self._outcomes) == len(self._good):
            self._end()
            return self._outcomes
        waiting = [(item, work) for item, work in self._own if item.hold_id not in self._outcomes]
        waiting += [(item, item.joined) for item in self._good if item.joined is not None]
        try:
            for item, work in waiting:
                self._outcomes[item.hold_id] = self._wait(item, work)
        except BaseException:
            self.lose()
            raise
        self._end()
        return self._outcomes

    def lose(self) -> None:
        """Nobody will finish: a computation that nobody starts would have equal inputs wait for nothing."""
        for _, work in self._own:
            work.fail(unavailable("The prediction was lost; please try again."))
        self._end()

    def _end(self) -> None:
        for item, work in self._own:
            flights.end(item.key, work)

    def _begin_one(self, item: Prepared) -> None:
        """Add the input to what is computed, unless an equal one began or ended while this call was admitted.

        Then it costs what a cached answer costs: its hold is settled for less than it took.
        """
        contract, context = self._contract, self._context
        keep = context.cache.write and bool(item.ref.cache_ttl_s)
        hold = Hold(hold_id=item.hold_id, tenant_id=contract.subject.tenant_id, shard=contract.subject.shard)
        work = WorkItem(payload=item.payload, cache_key=item.key if keep else b"", hold=hold, deadline=self._deadline)
        if keep:
            item.joined = flights.begin(item.key, work, may_join=context.cache.read)
            if item.joined is None and context.cache.read:
                item.entry = usable(cache.local.get(item.key), item.ref)
            if item.entry is not None:
                flights.end(item.key, work)
                item.units = item.cached_units
            if not item.settled_by_worker:
                return
        self._own.append((item, work))

    def _wait(self, item: Prepared, work: WorkItem) -> bytes | PlatformError:
        cancellation = self._context.cancellation
        if not work.wait(self._deadline, cancellation):
            # The worker may have settled in this very moment: then the answer is on its way and is the customer's.
            released = release(self._contract, item.hold_id)
            if released or not work.wait(clock.monotonic() + 1.0):
                work.leave(unpaid=released and item.joined is None)
                what = "The call was taken back" if cancellation and cancellation.canceled else _LATE
                return PlatformError(
                    ErrorKind.TIMEOUT,
                    f"{what}{'; nothing was charged' if released else ''}. Please try again.",
                    retry_after_s=1.0,
                )
        if work.scores is None:
            release(self._contract, item.hold_id)
            # Calls that waited with one computation fail together, but each tells the problem in its own words.
            return work.error.copy() if work.error else unavailable("The prediction was lost; please try again.")
        if item.joined is None:
            if work.cache_key:
                cache.put_local(item.key, work.scores, ttl_s=item.ref.cache_ttl_s)
        elif work.take_bill():
            item.took_bill = True
        else:
            item.units = item.cached_units
        return work.scores


def _submit(own: Sequence[tuple[Prepared, WorkItem]]) -> None:
    if not own:
        return
    by_version: dict[int, list[tuple[Prepared, WorkItem]]] = {}
    for pair in own:
        by_version.setdefault(pair[0].ref.version_id, []).append(pair)
    try:
        batcher().submit([(pairs[0][0].ref, [work for _, work in pairs]) for pairs in by_version.values()])
    except PlatformError as problem:
        for _, work in own:
            work.fail(problem)
        raise


def release(contract: Contract, *hold_ids: str) -> bool:
    """Give units back; False if they were settled already. While Redis is away that is put off until it answers."""
    subject = contract.subject
    try:
        released = admission.release(tenant_id=subject.tenant_id, shard=subject.shard, hold_ids=hold_ids)
    except PlatformError:
        logger.warning("units could not be given back now; it is tried again until their hold ends")
        longest_s = settings.PREDICT_TIMEOUT_S + HOLD_MARGIN_S
        giving_back.later(tenant_id=subject.tenant_id, shard=subject.shard, hold_ids=hold_ids, within_s=longest_s)
        return True
    return released > 0


@lru_cache(maxsize=1)
def batcher() -> Batcher:
    """The batcher of this process."""
    return Batcher(
        CeleryTransport(),
        per_worker=settings.BATCHES_IN_FLIGHT,
        max_queued=settings.MAX_QUEUED_INPUTS,
        max_delay_s=settings.MAX_QUEUE_DELAY_S,
    )


def forget() -> None:
    """Drop what this process holds of answers and running computations; for tests."""
    cache.local.clear()
    flights.forget()
    if batcher.cache_info().currsize:
        batcher().stop()
        batcher.cache_clear()
