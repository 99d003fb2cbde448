"""First stage: is the answer at hand, in this process or in the cache Redis, or under way here? What must be computed needs a
permit, and workers that can answer in time."""

from collections.abc import Callable, Sequence
from typing import Final

from prometheus_client import Counter

from inference.batching.current import batcher
from inference.cache import remote, single_flight, store
from inference.cache.store import Entry
from inference.engine.permits import permits
from inference.engine.preparing import Prepared, answering, not_cached
from inference.engine.shared_holds import repeated
from inference.engine.stages import completion
from inference.engine.wave_call import WaveCall
from inference.types import CachePolicy, ModelRef
from mlplatform.lib.errors import ErrorKind, PlatformError

Next = Callable[[Sequence[WaveCall]], None]

_DOUBT: Final = 1.6
"""Calls of one wave do not see each other, and a queue moves slower the more is refused beside it. Where the wait is taken at its
word, an overloaded queue is full of calls that end a moment too late, computed for nothing."""

_too_late: Final = Counter(
    "mlplatform_inputs_too_late_total", "Inputs refused because their answers would come after their deadline."
)


def look(calls: Sequence[WaveCall], then: Next, broken: Callable[[Exception], None]) -> None:
    """Look into the caches, at most one round trip for all; ``then`` gets the calls that may be admitted, ``broken`` a bug that
    keeps all from going on."""
    missing = [
        (item, call.context.cache)
        for call in calls
        if call.context.cache.read
        for item in call.items
        if item.ref.cache_ttl_s and not _is_at_hand(item, call.context.cache)
    ]
    if not missing or store.is_away():
        then(_ready(calls))
        return

    def looked(entries: Sequence[Entry | None]) -> None:
        try:
            for (item, policy), entry in zip(missing, entries, strict=True):
                item.entry = policy.fresh(entry)
            ready = _ready(calls)
        except Exception as error:  # noqa: BLE001 - handed on
            broken(error)
        else:
            then(ready)

    remote.fetch([item.key for item, _ in missing], looked)


def _is_at_hand(item: Prepared, policy: CachePolicy) -> bool:
    entry = store.at_hand(item.key)
    if entry is None:
        return False
    item.entry = policy.fresh(entry)
    return True


def _ready(calls: Sequence[WaveCall]) -> list[WaveCall]:
    """Those that may be admitted; the others have ended with their problems."""
    ready = []
    for call in calls:
        try:
            if _is_answerable(call):
                ready.append(call)
            else:
                completion.end(call)
        except PlatformError as problem:
            completion.end(call, problem)
    return ready


def _is_answerable(call: WaveCall) -> bool:
    """Whether any input of it may be answered; those that may not have their problems, and the call goes on without them.

    Raises INVALID_INPUT or NOT_CACHED of an input without which the others are of no use, and OVERLOADED.
    """
    computed: list[Prepared] = []
    refused = False
    for item in call.items:
        try:
            _look_at(item, call)
        except PlatformError as problem:
            if call.whole:
                raise
            item.outcome = problem
            refused = True
        else:
            if item.entry is None:
                computed.append(item)
    if refused:
        good = [item for item in call.items if item.outcome is None]
        if not good:
            return False
        call.items = good
    call.is_cached = not computed
    if computed:
        _require_workers(call, computed)
    return True


def _look_at(item: Prepared, call: WaveCall) -> None:
    """Raises INVALID_INPUT or NOT_CACHED."""
    item.entry = answering(item.entry, item.ref, item.request)
    if item.entry is not None:
        item.units = item.cached_units
    elif call.context.cache.only_if_cached:
        raise not_cached(item.request)


def _require_workers(call: WaveCall, computed: Sequence[Prepared]) -> None:
    """A permit to wait, and workers that answer before the caller's deadline unless equal ones run. Raises OVERLOADED."""
    contract, context = call.contract, call.context
    if context.holds_thread:
        permits().take(contract.subject.tenant_id, weight=contract.weight)
        call.has_permit = True
    own = computed
    if context.cache.read:
        for item in computed:
            item.joined = single_flight.join(item.lease_key, call.deadline)
        again = repeated(computed, context) if call.is_bulk else ()
        own = [item for item in computed if item.joined is None and item.hold_id not in again]
    if own:
        _require_in_time(call, own)


def _require_in_time(call: WaveCall, items: Sequence[Prepared]) -> None:
    contract, timeout_s = call.contract, call.context.timeout_s
    tokens: dict[int, tuple[ModelRef, int]] = {}
    for item in items:
        before = tokens.get(item.ref.version_id, (item.ref, 0))[1]
        tokens[item.ref.version_id] = (item.ref, before + item.size)
    wait_s = batcher().expected_wait_s(
        list(tokens.values()), tenant_id=contract.subject.tenant_id, weight=contract.weight, doubt=_DOUBT
    )
    if wait_s > timeout_s:
        _too_late.inc(len(items))
        raise PlatformError(
            ErrorKind.OVERLOADED,
            f"An answer would take about {wait_s:.1f} s now, and this call waits {timeout_s:g} s at most; nothing was charged.",
            retry_after_s=max(1.0, wait_s - timeout_s),
        )
