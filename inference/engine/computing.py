"""From admitted inputs to their scores: by the cache, by an equal computation that runs here or in another process, or by the
batcher and a worker."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter

from billing import charging
from billing.admission import Subject
from billing.contracts import Contract
from inference.batching import current
from inference.batching.current import batcher
from inference.cache import leases, single_flight, store, waiters
from inference.cache.waiters import SharedWork
from inference.engine import works
from inference.engine.preparing import Prepared
from inference.engine.undo import Undo
from inference.types import CallContext, ModelRef
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable

_too_late = Counter(
    "mlplatform_inputs_too_late_total", "Inputs refused because their answers would come after their deadline."
)

_SETTLED_WAIT_S: Final = 1.0
HOLD_MARGIN_S: Final = (
    15.0  # a hold outlives the caller's deadline, so that a late settle finds it or no call has the answer
)


class Computation:
    """The inputs of admitted calls while they are computed: :meth:`begin`, then :meth:`finish`; :meth:`lose` if one fails."""

    def __init__(self, contract: Contract, good: Sequence[Prepared], context: CallContext, deadline: float) -> None:
        self._contract = contract
        self._good = good
        self._context = context
        self._deadline = deadline
        self._own: list[tuple[Prepared, SharedWork]] = []
        self._outcomes: dict[str, bytes | PlatformError] = {
            item.hold_id: item.entry.scores for item in good if item.entry is not None
        }

    def begin(self, undo: Undo) -> None:
        """Submit what must be computed; returns at once. What could not be queued has its problem in the end."""
        if len(self._outcomes) == len(self._good):
            return
        undo.callback(self.lose)
        for item in self._good:
            if item.entry is None and item.joined is None:
                self._begin_unless_broken(item)
        self._outcomes.update((item.hold_id, item.entry.scores) for item in self._good if item.entry is not None)
        ours = self._claim()
        try:
            submit(ours)
        except PlatformError as problem:
            self._outcomes.update((item.hold_id, problem) for item, _ in ours)
            charging.take_back(self._contract.subject, *(item.hold_id for item, _ in ours))

    def finish(self) -> dict[str, bytes | PlatformError]:
        """Wait. Scores or the problem of each input, by hold id; what failed is released."""
        if len(self._outcomes) == len(self._good):
            self._end()
            return self._outcomes
        waiting = [(item, work) for item, work in self._own if item.hold_id not in self._outcomes]
        waiting += [(item, item.joined) for item in self._good if item.joined is not None]
        for item, work in waiting:
            self._outcomes[item.hold_id] = self._wait(item, work)
        self._end()
        return self._outcomes

    def lose(self) -> None:
        """Give up: own inputs fail at once, so that equal ones do not wait for a computation that may never start, and others'
        computations are left."""
        for _, work in self._own:
            work.fail(unavailable("The prediction was lost; please try again."))
        for item in self._good:
            item.leave()
        self._end()

    def _end(self) -> None:
        if self._own:
            for item, work in self._own:
                single_flight.end(item.lease_key, work)
            leases.end([work for _, work in self._own])

    def _begin_unless_broken(self, item: Prepared) -> None:
        """Unpack the input if it is packed, and begin it; what cannot be unpacked has its problem, and its units are released."""
        try:
            payload = item.unpacked(contract=self._contract, until=self._deadline)
        except PlatformError as problem:
            self._outcomes[item.hold_id] = problem
            charging.take_back(self._contract.subject, item.hold_id)
        else:
            self._begin_one(item, payload)

    def _begin_one(self, item: Prepared, payload: bytes) -> None:
        """Add the input to what is computed, unless an equal one began or ended while this call was admitted.

        Then it costs what a cached answer costs: its hold is settled for less than it took.
        """
        context = self._context
        work = works.work_of(
            item, payload, hold_id=item.hold_id, contract=self._contract, context=context, deadline=self._deadline
        )
        # Before it is shared: :meth:`lose` ends what it finds here.
        self._own.append((item, work))
        if work.cache_key:
            item.joined = single_flight.begin(item.lease_key, work, may_join=context.cache.read)
            if item.joined is None and context.cache.read:
                item.entry = works.answered_meanwhile(item, context)
            if item.entry is not None:
                single_flight.end(item.lease_key, work)
                item.units = item.cached_units
            if not item.settled_by_worker:
                self._own.pop()

    def _claim(self) -> list[tuple[Prepared, SharedWork]]:
        """What must be submitted here: what no other process computes."""
        if not works.is_offered(self._context):
            return self._own
        shared = [(item, work) for item, work in self._own if work.cache_key]
        alone = [(item, work) for item, work in self._own if not work.cache_key]
        taken = leases.take([work for _, work in shared])
        ours = [pair for pair, one in zip(shared, taken, strict=True) if works.is_ours(pair[0].ref, pair[1], one)]
        return [*alone, *ours]

    def _wait(self, item: Prepared, work: SharedWork) -> bytes | PlatformError:
        cancellation, subject = self._context.cancellation, self._contract.subject
        if not work.wait(self._deadline, cancellation):
            problem = take_back_unless_answered(subject, item.hold_id, work, self._context)
            if problem is not None:
                if item.joined is None:
                    work.leave(unpaid=True)
                else:
                    item.leave()
                return problem
        if work.scores is None:
            # Settled or not: a worker that died with its answer may have settled before.
            charging.take_back(subject, item.hold_id)
            if work.length is not None:
                return item.refused(work.length)
            # Calls that waited with one computation fail together, but each tells the problem in its own words.
            return work.error.copy() if work.error else unavailable("The prediction was lost; please try again.")
        if work.entry is not None:
            item.entry, item.units = work.entry, item.cached_units
        elif item.joined is None:
            if work.cache_key:
                store.put_local(item.key, work.scores, ttl_s=item.ref.cache_ttl_s, length=work.length)
        elif work.claim_charge():
            item.claimed_charge = True
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


def take_back_unless_answered(
    subject: Subject, hold_id: str, work: SharedWork, context: CallContext
) -> PlatformError | None:
    """The problem of a call whose time is over; None where the worker has settled in this very moment: then the answer is on its
    way and is the customer's."""
    if not charging.release(subject, hold_id):
        if work.wait(clock.monotonic() + _SETTLED_WAIT_S):
            return None
        charging.take_back(subject, hold_id)
    canceled = context.cancellation is not None and context.cancellation.canceled
    why = "The call was taken back" if canceled else "The model did not answer in time"
    return PlatformError(ErrorKind.TIMEOUT, f"{why}; nothing was charged. Please try again.", retry_after_s=1.0)


def forget() -> None:
    """Drop what this process holds of answers and running computations; for tests."""
    store.forget()
    single_flight.forget()
    leases.forget()
    waiters.forget()
    current.forget()
