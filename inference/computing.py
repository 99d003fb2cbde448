"""From admitted inputs to their scores: by the cache, by an equal computation that runs here or in another process, or by the
batcher and a worker."""

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from django.conf import settings
from prometheus_client import Counter

from billing import admission
from billing.contracts import Contract
from inference import cache, claims, flights, following, giving_back
from inference.batching.batcher import Batcher
from inference.batching.transport import CeleryTransport
from inference.batching.work import Hold
from inference.following import SharedWork
from inference.preparing import Prepared, answering
from inference.types import CallContext, ModelRef, Priority
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable

logger = logging.getLogger(__name__)

_too_late = Counter(
    "mlplatform_inputs_too_late_total", "Inputs refused because their answers would come after their deadline."
)

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
        self._own: list[tuple[Prepared, SharedWork]] = []
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
            ours = self._claim()
            try:
                submit(ours)
            except PlatformError as problem:
                self._outcomes.update((item.hold_id, problem) for item, _ in ours)
                release(self._contract, *(item.hold_id for item, _ in ours))
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
        if self._own:
            for item, work in self._own:
                flights.end(item.lease_key, work)
            claims.end([work for _, work in self._own])

    def _begin_one(self, item: Prepared) -> None:
        """Add the input to what is computed, unless an equal one began or ended while this call was admitted.

        Then it costs what a cached answer costs: its hold is settled for less than it took.
        """
        contract, context = self._contract, self._context
        keep = context.cache.write and bool(item.ref.cache_ttl_s) and cache.fits(item.ref.outputs)
        hold = Hold(hold_id=item.hold_id, tenant_id=contract.subject.tenant_id, shard=contract.subject.shard)
        work = SharedWork(
            payload=item.payload,
            cache_key=item.key if keep else b"",
            hold=hold,
            deadline=self._deadline,
            priority=context.priority,
            weight=contract.weight,
            size=item.size,
            truncate=item.truncate,
        )
        if keep:
            item.joined = flights.begin(item.lease_key, work, may_join=context.cache.read)
            if item.joined is None and context.cache.read:
                item.entry = self._answered_meanwhile(item)
            if item.entry is not None:
                flights.end(item.lease_key, work)
                item.units = item.cached_units
            if not item.settled_by_worker:
                return
        self._own.append((item, work))

    def _answered_meanwhile(self, item: Prepared) -> cache.Entry | None:
        """What this process has by now. A text that is known to be too long is left to the worker, which tells it again: its
        units are held already."""
        try:
            return self._context.cache.fresh(answering(cache.local.get(item.key), item.ref, item.request))
        except PlatformError:
            return None

    def _claim(self) -> list[tuple[Prepared, SharedWork]]:
        """What must be submitted here: what no other process computes.

        Who asks for a fresh answer waits with nobody, and nobody waits with work that everybody overtakes.
        """
        policy = self._context.cache
        if not policy.read or policy.max_age_s is not None or self._context.priority is not Priority.INTERACTIVE:
            return self._own
        shared = [(item, work) for item, work in self._own if work.cache_key]
        ours = [(item, work) for item, work in self._own if not work.cache_key]
        for (item, work), taken in zip(shared, claims.take([work for _, work in shared]), strict=True):
            entry = None if isinstance(taken, bool) else cache.usable(taken, item.ref)
            if entry is not None:
                work.answer(entry)
            elif taken is False:
                following.follow(item.ref, work, _submit_later)
            else:
                ours.append((item, work))
        return ours

    def _wait(self, item: Prepared, work: SharedWork) -> bytes | PlatformError:
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
            if work.length is not None:
                return item.refused(work.length)
            # Calls that waited with one computation fail together, but each tells the problem in its own words.
            return work.error.copy() if work.error else unavailable("The prediction was lost; please try again.")
        if work.entry is not None:
            item.entry, item.units = work.entry, item.cached_units
        elif item.joined is None:
            if work.cache_key:
                cache.put_local(item.key, work.scores, ttl_s=item.ref.cache_ttl_s, length=work.length)
        elif work.take_bill():
            item.took_bill = True
        else:
            item.units = item.cached_units
        item.length = work.length
        return work.scores


def submit(own: Sequence[tuple[Prepared, SharedWork]]) -> None:
    """Queue admitted inputs, all or none. Raises OVERLOADED or UNAVAILABLE, which their works have failed with by then."""
    if not own:
        return
    by_version: dict[int, list[tuple[Prepared, SharedWork]]] = {}
    for pair in own:
        by_version.setdefault(pair[0].ref.version_id, []).append(pair)
    try:
        batcher().submit([(pairs[0][0].ref, [work for _, work in pairs]) for pairs in by_version.values()])
    except PlatformError as problem:
        for _, work in own:
            work.fail(problem)
        raise


def require_in_time(contract: Contract, items: Sequence[Prepared], *, timeout_s: float) -> None:
    """Raises OVERLOADED where workers are so busy that the inputs' answers would come after the caller's deadline."""
    tokens: dict[int, tuple[ModelRef, int]] = {}
    for item in items:
        before = tokens.get(item.ref.version_id, (item.ref, 0))[1]
        tokens[item.ref.version_id] = (item.ref, before + item.size)
    wait_s = batcher().expected_wait_s(
        list(tokens.values()), tenant_id=contract.subject.tenant_id, weight=contract.weight
    )
    if wait_s > timeout_s:
        _too_late.inc(len(items))
        raise PlatformError(
            ErrorKind.OVERLOADED,
            f"An answer would take about {wait_s:.1f} s now, and this call waits {timeout_s:g} s at most; nothing was charged.",
            retry_after_s=max(1.0, wait_s - timeout_s),
        )


def _submit_later(ref: ModelRef, work: SharedWork) -> None:
    batcher().submit([(ref, [work])])


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
        max_queued_bytes=settings.MAX_QUEUED_BYTES,
        shared_batch_s=settings.SHARED_BATCH_S,
    )


def forget() -> None:
    """Drop what this process holds of answers and running computations; for tests."""
    cache.forget()
    flights.forget()
    claims.forget()
    following.forget()
    if batcher.cache_info().currsize:
        batcher().stop()
        batcher.cache_clear()
