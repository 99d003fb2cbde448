"""The one entry point of every face: from a parsed call to its answers. It reads from top to bottom."""

import logging
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from django.conf import settings

from billing import admission, charging, contracts, pricing
from billing.admission import Charge, Decision
from billing.contracts import Contract
from inference import cache, canonical, flights, giving_back, registry
from inference.batching.batcher import Batcher
from inference.batching.transport import CeleryTransport
from inference.batching.work import Hold, WorkItem
from inference.types import CallContext, LabelScore, ModelRef, PredictRequest, PredictResult
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid, unavailable
from mlplatform.lib.ids import hex_id
from tenants import scopes
from tenants.authentication import Caller
from tenants.lifecycle import catalogue
from tenants.lifecycle.rules import Deprecation

logger = logging.getLogger(__name__)

_SCORE_DIGITS: Final = 6
_BYTES_PER_SCORE: Final = 4
_HOLD_MARGIN_S: Final = (
    15.0  # a hold outlives the caller's deadline, so that a late settle finds it or nobody has an answer
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gets: a result or a problem for each input in order, the units of all, and the limits after it.

    ``decision`` is None when no input was good enough to be admitted.
    """

    results: tuple[PredictResult | PlatformError, ...]
    units: int
    decision: Decision | None


@dataclass(slots=True)
class _Prepared:
    """An input that may be admitted: its model, canonical bytes, and the answer or the equal computation at hand."""

    request: PredictRequest
    ref: ModelRef
    payload: bytes
    key: bytes
    entry: cache.Entry | None
    joined: WorkItem | None
    hold_id: str
    units: int
    cached_units: int
    deprecation: Deprecation | None

    @property
    def cached(self) -> bool:
        return self.entry is not None or self.joined is not None


def predict(caller: Caller, request: PredictRequest, context: CallContext) -> Answer:
    """One input. Raises its problem; what was not answered is not charged."""
    answer = predict_many(caller, [request], context)
    single(answer)
    return answer


def single(answer: Answer) -> PredictResult:
    """The result of a call of one input that :func:`predict` answered."""
    result = answer.results[0]
    if isinstance(result, PlatformError):
        raise result
    return result


def predict_many(caller: Caller, requests: Sequence[PredictRequest], context: CallContext) -> Answer:
    """Many inputs, of several models if need be, admitted at once; each gets its result or its problem.

    Raises ``PlatformError`` for what concerns the call as a whole (scope, limits, a dependency that is away) and
    ``StaleCaller`` when the caller must be authenticated anew.
    """
    started = clock.monotonic()
    deadline = started + context.timeout_s
    scopes.require(caller.scopes, context.operation)
    contract = contracts.contract_of(caller)
    prepared = _prepare(caller, requests, context, deadline)
    good = [item for item in prepared if isinstance(item, _Prepared)]
    if not good:
        return Answer(tuple(item for item in prepared if isinstance(item, PlatformError)), 0, None)
    call = _admit(contract, good, context)
    outcomes = _compute(contract, good, context, deadline)
    _finish_call(contract, call, good, outcomes)
    results: list[PredictResult | PlatformError] = []
    for item in prepared:
        if isinstance(item, PlatformError):
            results.append(item)
        else:
            outcome = outcomes[item.hold_id]
            results.append(outcome if isinstance(outcome, PlatformError) else _result(item, outcome, started))
    units = sum(result.units for result in results if isinstance(result, PredictResult))
    return Answer(tuple(results), units + (call.fee if _any_answered(outcomes) else 0), call.decision)


# --- Prepare: resolve, canonicalise, look into the cache, price -------------------------------------------------------


def _prepare(
    caller: Caller, requests: Sequence[PredictRequest], context: CallContext, deadline: float
) -> list[_Prepared | PlatformError]:
    encoded: list[tuple[ModelRef, bytes, bytes, Deprecation | None] | PlatformError] = []
    for request in requests:
        try:
            ref, deprecation = _resolve(caller, request, context.request_id)
            payload = canonical.encode(ref.input_schema, request.input, field=f"{request.path}input")
            key = canonical.cache_key(ref, payload, tenant_id=caller.tenant_id)
            encoded.append((ref, payload, key, deprecation))
        except PlatformError as problem:
            encoded.append(problem)
    wanted = [item[2] for item in encoded if not isinstance(item, PlatformError) and item[0].cache_ttl_s]
    entries = cache.get_many(wanted) if context.cache.read else {}
    prepared: list[_Prepared | PlatformError] = []
    for request, item in zip(requests, encoded, strict=True):
        if isinstance(item, PlatformError):
            prepared.append(item)
            continue
        ref, payload, key, deprecation = item
        entry = _usable(entries.get(key), ref)
        joined = flights.join(key, deadline) if entry is None and context.cache.read else None
        price = pricing.tariff(operation=context.operation, model=ref.name)
        units = price.for_input(cached=entry is not None or joined is not None)
        prepared.append(
            _Prepared(
                request, ref, payload, key, entry, joined, hex_id(), units, price.for_input(cached=True), deprecation
            )
        )
    return prepared


def _usable(entry: cache.Entry | None, ref: ModelRef) -> cache.Entry | None:
    """The entry, unless another release wrote it, or staff have mended the version's labels since."""
    return entry if entry is not None and len(entry.scores) == _BYTES_PER_SCORE * ref.outputs else None


def _resolve(caller: Caller, request: PredictRequest, call_id: str) -> tuple[ModelRef, Deprecation | None]:
    name = request.model or caller.default_model
    if not name:
        raise invalid(
            f"{request.path}model",
            "Name a model: this tenant has no default model. GET /v2/models lists them.",
        )
    deprecation = None
    if "@" in name and caller.may_use(name.partition("@")[0]):
        # Before it is resolved: a version that has ended may be retired, and says where to go all the same.
        deprecation = catalogue.judge_model_version(
            name, tenant_id=caller.tenant_id, call_id=call_id, field=f"{request.path}model"
        )
    ref = registry.resolve(name, field=f"{request.path}model")
    if not caller.may_use(ref.name):
        raise registry.not_found(name, field=f"{request.path}model")
    if ref.is_embedding:
        require_labels_unasked(ref, request)
    return ref, deprecation


def require_labels_unasked(ref: ModelRef, request: PredictRequest) -> None:
    """Raises INVALID_INPUT where the request wants labels of a model that answers with an embedding."""
    if request.top_k is not None:
        raise invalid(
            f"{request.path}parameters.top_k",
            f"{ref.name} answers with an embedding, which has no labels to choose from.",
        )
    if request.labels_only:
        raise invalid(
            f"{request.path}model",
            f"{ref.name} answers with an embedding, which this API version cannot say; use v2.",
        )


# --- Admit: one round trip for everything ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Call:
    """What was admitted beside the inputs: the fee of the call, and whether all is metered already."""

    decision: Decision
    fee: int
    fee_hold_id: str
    metered: bool


def _admit(contract: Contract, good: Sequence[_Prepared], context: CallContext) -> _Call:
    models = {item.ref.name for item in good}
    fee = pricing.call_fee(operation=context.operation, models=models)
    # A call counts as one request for each model that it names, however many inputs it has.
    first_of_model = {item.ref.name: item for item in reversed(good)}
    charges = [
        Charge(
            hold_id=item.hold_id,
            model=item.ref.name,
            units=item.units,
            requests=1 if item is first_of_model[item.ref.name] else 0,
            record=_record(contract, context, item, item.units, counts=item is first_of_model[item.ref.name]),
        )
        for item in good
    ]
    fee_hold_id = ""
    if fee:
        fee_hold_id = hex_id()
        charges.append(Charge(fee_hold_id, "", fee, 0, _record(contract, context, None, fee, counts=False)))
    metered = all(item.entry is not None for item in good)
    try:
        decision = charging.charge(
            contract=contract,
            limits=contract.limits_for(models),
            charges=charges,
            request_id=context.request_id,
            hold_ttl_s=context.timeout_s + _HOLD_MARGIN_S,
            settle_now=metered,
        )
    except BaseException:
        for item in good:
            if item.joined is not None:
                item.joined.leave()
        raise
    return _Call(decision, fee, fee_hold_id, metered)


def _record(contract: Contract, context: CallContext, item: _Prepared | None, units: int, *, counts: bool) -> bytes:
    return charging.record(
        contract=contract,
        request_id=context.request_id,
        operation=context.operation,
        model=item.ref.name if item else "",
        model_version=item.ref.version if item else "",
        api_version=context.api_version,
        inputs=1 if item else 0,
        cached=item.cached if item else False,
        requests=1 if counts else 0,
        held_units=units,
        client=context.client,
    )


# --- Compute: submit to the batcher and wait -------------------------------------------------------------------------


def _compute(
    contract: Contract, good: Sequence[_Prepared], context: CallContext, deadline: float
) -> dict[str, bytes | PlatformError]:
    """Scores or the problem of each input, by hold id; what failed is released."""
    outcomes: dict[str, bytes | PlatformError] = {
        item.hold_id: item.entry.scores for item in good if item.entry is not None
    }
    if len(outcomes) == len(good):
        return outcomes
    own: list[tuple[_Prepared, WorkItem]] = []
    try:
        for item in good:
            if item.entry is None and item.joined is None:
                _begin(contract, item, context, deadline, own)
        outcomes.update((item.hold_id, item.entry.scores) for item in good if item.entry is not None)
        waiting = [(item, item.joined) for item in good if item.joined is not None]
        try:
            _submit(own)
        except PlatformError as problem:
            outcomes.update((item.hold_id, problem) for item, _ in own)
            _release(contract, *(item.hold_id for item, _ in own))
        else:
            waiting = own + waiting
        for item, work in waiting:
            outcomes[item.hold_id] = _wait(contract, item, work, deadline)
    except BaseException:
        # A computation that nobody starts would have equal inputs wait for nothing.
        for _, work in own:
            work.fail(unavailable("The prediction was lost; please try again."))
        raise
    finally:
        for item, work in own:
            flights.end(item.key, work)
    return outcomes


def _begin(
    contract: Contract,
    item: _Prepared,
    context: CallContext,
    deadline: float,
    own: list[tuple[_Prepared, WorkItem]],
) -> None:
    """Add the input to ``own`` to be computed, unless an equal one began or ended while this call was admitted.

    Then it costs what a cached answer costs: its hold is settled for less than it took.
    """
    keep = context.cache.write and bool(item.ref.cache_ttl_s)
    hold = Hold(hold_id=item.hold_id, tenant_id=contract.subject.tenant_id, shard=contract.subject.shard)
    work = WorkItem(payload=item.payload, cache_key=item.key if keep else b"", hold=hold, deadline=deadline)
    if keep:
        item.joined = flights.begin(item.key, work, may_join=context.cache.read)
        if item.joined is None and context.cache.read:
            item.entry = _usable(cache.local.get(item.key), item.ref)
        if item.entry is not None:
            flights.end(item.key, work)
        if item.cached:
            item.units = item.cached_units
            return
    own.append((item, work))


def _submit(own: Sequence[tuple[_Prepared, WorkItem]]) -> None:
    by_version: dict[int, list[tuple[_Prepared, WorkItem]]] = {}
    for pair in own:
        by_version.setdefault(pair[0].ref.version_id, []).append(pair)
    try:
        batcher().submit([(pairs[0][0].ref, [work for _, work in pairs]) for pairs in by_version.values()])
    except PlatformError as problem:
        for _, work in own:
            work.fail(problem)
        raise


def _wait(contract: Contract, item: _Prepared, work: WorkItem, deadline: float) -> bytes | PlatformError:
    if not work.wait(deadline):
        # The worker may have settled in this very moment: then the answer is on its way and is the customer's.
        released = _release(contract, item.hold_id)
        if released or not work.wait(clock.monotonic() + 1.0):
            work.leave()
            return PlatformError(
                ErrorKind.TIMEOUT,
                f"The model did not answer in time{'; nothing was charged' if released else ''}. Please try again.",
                retry_after_s=1.0,
            )
    if work.scores is None:
        _release(contract, item.hold_id)
        return work.error or unavailable("The prediction was lost; please try again.")
    if item.joined is None and work.cache_key:
        cache.put_local(item.key, work.scores, ttl_s=item.ref.cache_ttl_s)
    return work.scores


def _release(contract: Contract, *hold_ids: str) -> bool:
    """Give units back; False if they were settled already. While Redis is away that is put off until it answers."""
    subject = contract.subject
    try:
        released = admission.release(tenant_id=subject.tenant_id, shard=subject.shard, hold_ids=hold_ids)
    except PlatformError:
        logger.warning("units could not be given back now; it is tried again until their hold ends")
        longest_s = settings.PREDICT_TIMEOUT_S + _HOLD_MARGIN_S
        giving_back.later(tenant_id=subject.tenant_id, shard=subject.shard, hold_ids=hold_ids, within_s=longest_s)
        return True
    return released > 0


# --- Finish: settle what no worker settles, render -------------------------------------------------------------------


def _finish_call(
    contract: Contract, call: _Call, good: Sequence[_Prepared], outcomes: dict[str, bytes | PlatformError]
) -> None:
    """Settle cached and joined inputs of a call that was not metered at admission, and the fee if anything was answered."""
    if call.metered:
        return
    settled = [
        admission.Settlement(hold_id=item.hold_id, units=item.units)
        for item in good
        if item.cached and not isinstance(outcomes[item.hold_id], PlatformError)
    ]
    if call.fee_hold_id:
        if _any_answered(outcomes):
            settled.append(admission.Settlement(hold_id=call.fee_hold_id))
        else:
            _release(contract, call.fee_hold_id)
    if settled:
        admission.settle(
            tenant_id=contract.subject.tenant_id,
            shard=contract.subject.shard,
            holds=settled,
        )


def _any_answered(outcomes: dict[str, bytes | PlatformError]) -> bool:
    return any(not isinstance(outcome, PlatformError) for outcome in outcomes.values())


def _result(item: _Prepared, scores: bytes, started: float) -> PredictResult:
    predictions: tuple[LabelScore, ...] | None = None
    embedding: npt.NDArray[np.float32] | None = None
    if item.ref.is_embedding:
        embedding = np.frombuffer(scores, dtype=np.float32)
    else:
        predictions = ranked(scores, item.ref.labels, item.request.top_k)
    return PredictResult(
        id=item.hold_id,
        model=item.ref.name,
        model_version=item.ref.version,
        predictions=predictions,
        embedding=embedding,
        units=item.units,
        cached=item.cached,
        age_s=item.entry.age_s() if item.entry else 0,
        latency_ms=round((clock.monotonic() - started) * 1000, 3),
        deprecation=item.deprecation,
    )


@lru_cache(maxsize=4096)
def ranked(scores: bytes, labels: tuple[str, ...], top_k: int | None) -> tuple[LabelScore, ...]:
    """Labels with their scores, best first. Kept, because what is cached is asked for again."""
    ranked = sorted(zip(array("f", scores), labels, strict=True), key=lambda pair: -pair[0])[:top_k]
    return tuple([LabelScore(label, round(score, _SCORE_DIGITS)) for score, label in ranked])


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
