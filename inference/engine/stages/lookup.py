"""First stage: is the answer at hand, in this process or in the cache Redis, or under way here? What must be computed needs a
permit, and workers that can answer in time."""

from collections.abc import Callable, Sequence
from typing import Any

from inference.cache import links, single_flight, store
from inference.engine.computing import require_in_time
from inference.engine.permits import permits
from inference.engine.preparing import answering, not_cached
from inference.engine.stages import completion
from inference.engine.wave_call import WaveCall
from mlplatform.lib import tally
from mlplatform.lib.errors import PlatformError
from mlplatform.lib.redis_link import Answers

Next = Callable[[Sequence[WaveCall]], None]


def look(calls: Sequence[WaveCall], then: Next, broken: Callable[[Exception], None]) -> None:
    """Look into the caches, at most one round trip for all; ``then`` gets the calls that may be admitted, ``broken`` a bug that
    keeps all from going on."""
    missing = [call for call in calls if call.context.cache.read and call.item.ref.cache_ttl_s and not _at_hand(call)]
    if not missing or store.is_away():
        then(_ready(calls))
        return

    def looked(answers: Answers | Exception) -> None:
        try:
            _take_all(missing, answers)
            ready = _ready(calls)
        except Exception as error:  # noqa: BLE001 - handed on
            broken(error)
        else:
            then(ready)

    links.ask(["MGET", *[store.ENTRY + call.item.key for call in missing]], looked)


def _take_all(calls: Sequence[WaveCall], answers: Answers | Exception) -> None:
    found: Any = answers if isinstance(answers, Exception) else answers[0]
    if isinstance(found, Exception):
        store.failed("get")
        return
    for call, value in zip(calls, found, strict=True):
        entry = store.received(value)
        if entry is not None:
            store.local.put(call.item.key, entry)
        _take(call, entry)


def _at_hand(call: WaveCall) -> bool:
    entry = store.local.get(call.item.key)
    if entry is None:
        return False
    tally.count(store.local_hit)
    _take(call, entry)
    return True


def _take(call: WaveCall, entry: store.Entry | None) -> None:
    call.item.entry = call.context.cache.fresh(entry)


def _ready(calls: Sequence[WaveCall]) -> list[WaveCall]:
    """Those that may be admitted; the others have ended with their problems."""
    ready = []
    for call in calls:
        try:
            _require_answerable(call)
        except PlatformError as problem:
            completion.end(call, problem)
        else:
            ready.append(call)
    return ready


def _require_answerable(call: WaveCall) -> None:
    """Raises INVALID_INPUT, NOT_CACHED or OVERLOADED."""
    item, context = call.item, call.context
    item.entry = answering(item.entry, item.ref, item.request)
    if item.entry is not None:
        item.units = item.cached_units
        return
    if context.cache.only_if_cached:
        raise not_cached(item.request)
    contract = call.contract
    if context.holds_thread:
        permits().take(contract.subject.tenant_id, weight=contract.weight)
        call.has_permit = True
    if context.cache.read:
        item.joined = single_flight.join(item.lease_key, call.deadline)
    if item.joined is None:
        require_in_time(contract, [item], timeout_s=context.timeout_s)
