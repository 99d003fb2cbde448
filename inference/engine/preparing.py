"""From a request to an input that may be admitted: resolve the model, canonicalise, look into the cache, price."""

from collections.abc import Sequence
from dataclasses import dataclass

from billing import pricing
from billing.contracts import Contract
from billing.pricing import Tariff
from inference.batching import policy
from inference.cache import single_flight, store
from inference.cache.waiters import SharedWork
from inference.engine.undo import Undo
from inference.inputs import canonical, pixel_budget
from inference.inputs.truncation import too_long
from inference.registry import names, versions
from inference.types import REFUSE, TO_LIMIT, CallContext, ModelRef, PredictRequest, TextLength
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from mlplatform.lib.ids import hex_id
from tenants.authentication import Caller
from tenants.deprecations import catalogue
from tenants.deprecations.rules import Deprecation


@dataclass(slots=True)
class Prepared:
    """An input that may be admitted: its model, canonical bytes, and the answer or the equal computation at hand.

    ``units`` is what is held, ``full_units`` what it costs when it is computed. An input that joins a computation holds the
    whole price too and costs the cached one in the end, unless the call that began it has left: one call pays for what was
    computed.
    """

    request: PredictRequest
    ref: ModelRef
    payload: bytes
    key: bytes
    entry: store.Entry | None
    joined: SharedWork | None
    hold_id: str
    units: int
    cached_units: int
    full_units: int
    deprecation: Deprecation | None
    claimed_charge: bool = False
    truncate: int = REFUSE
    """Whether the text may be cut, as ``inference.inputs.truncation`` says it; of what is no text it says nothing."""
    length: TextLength | None = None
    """Of a text that was cut, once it is answered."""
    left: bool = False

    def leave(self) -> None:
        """Wait no longer for the equal computation, if there is one; safe to repeat."""
        if self.joined is not None and not self.left:
            self.left = True
            self.joined.leave()

    @property
    def lease_key(self) -> bytes:
        """Under what its computation is known while it runs."""
        return store.lease_key(self.key, self.truncate)

    @property
    def is_packed(self) -> bool:
        """Whether it is an image that must be unpacked before it is computed."""
        return bool(canonical.pixels_of(self.payload, field=self.field))

    @property
    def size(self) -> int:
        """What it costs to compute, in tokens; 1 for what is no text. No more than the model reads are computed."""
        size = policy.size_of(self.payload, text=self.ref.reads_text)
        return min(size, self.ref.max_tokens or size)

    @property
    def field(self) -> str:
        """What the caller calls the input."""
        return f"{self.request.path}{self.request.field}"

    def unpacked(self, *, contract: Contract, until: float) -> bytes:
        """The canonical bytes, an image's now. Raises INVALID_INPUT for a damaged image, TOO_MANY_ATTEMPTS where no
        pixels are left, and TIMEOUT ``until`` when (monotonic clock) none could be unpacked."""
        pixels = canonical.pixels_of(self.payload, field=self.field)
        if not pixels:
            return self.payload
        pixel_budget.take(contract, pixels, field=self.field)
        return canonical.unpacked(self.ref.input_schema, self.payload, field=self.field, until=until)

    def refused(self, length: TextLength) -> PlatformError:
        """The problem of a text that may not be cut."""
        return _refused(length, self.ref, self.request)

    @property
    def cached(self) -> bool:
        """Whether it costs what cached answers cost."""
        return self.entry is not None or (self.joined is not None and not self.claimed_charge)

    @property
    def settled_by_worker(self) -> bool:
        """Whether the worker that computes it settles its hold, and not the call itself."""
        return self.entry is None and self.joined is None


def prepare(
    caller: Caller, requests: Sequence[PredictRequest], context: CallContext, deadline: float, undo: Undo
) -> list[Prepared | PlatformError]:
    """Each request ready to be admitted, or its problem, in order. ``undo`` leaves the computations that were joined."""
    encoded: list[tuple[ModelRef, bytes, int, bytes, Deprecation | None] | PlatformError] = []
    resolved: dict[str, ModelRef] = {}
    pixels = 0
    for request in requests:
        try:
            ref, deprecation = _resolve_once(caller, request, context.request_id, resolved)
            field = f"{request.path}{request.field}"
            payload = canonical.sent(ref.input_schema, request.input, field=field)
            pixels += canonical.pixels_of(payload, field=field)
            pixel_budget.require_for_call(pixels, field=field)
            truncate = _truncate(ref, request)
            key = canonical.cache_key(ref, payload, tenant_id=caller.tenant_id, truncate=truncate)
            encoded.append((ref, payload, truncate, key, deprecation))
        except PlatformError as problem:
            encoded.append(problem)
    wanted = [item[3] for item in encoded if not isinstance(item, PlatformError) and item[0].cache_ttl_s]
    entries = store.get_many(wanted) if context.cache.read else {}
    if context.cache.max_age_s is not None:
        entries = {key: entry for key, entry in entries.items() if context.cache.fresh(entry)}
    prepared: list[Prepared | PlatformError] = []
    prices: dict[str, Tariff] = {}
    for request, item in zip(requests, encoded, strict=True):
        if isinstance(item, PlatformError):
            prepared.append(item)
            continue
        ref, payload, truncate, key, deprecation = item
        try:
            entry = answering(entries.get(key), ref, request)
        except PlatformError as problem:
            prepared.append(problem)
            continue
        if entry is None and context.cache.only_if_cached:
            prepared.append(not_cached(request))
            continue
        price = prices.get(ref.qualified_name)
        if price is None:
            tariff = (
                pricing.FREE if context.free else pricing.tariff(operation=context.operation, model=ref.qualified_name)
            )
            price = prices[ref.qualified_name] = tariff
        joined = None
        if entry is None and context.cache.read:
            joined = single_flight.join(store.lease_key(key, truncate), deadline)
        full, cached = price.per_input, price.cached_per_input
        units = full if entry is None else cached
        ready = Prepared(
            request, ref, payload, key, entry, joined, hex_id(), units, cached, full, deprecation, truncate=truncate
        )
        if joined is not None:
            undo.callback(ready.leave)
        prepared.append(ready)
    return prepared


def prepare_single(caller: Caller, request: PredictRequest, context: CallContext) -> Prepared:
    """The request of a call of one input, as far as memory tells: neither cache nor computations under way were asked.

    Raises NOT_FOUND, INVALID_INPUT or ``Ended``.
    """
    ref, deprecation = resolve(caller, request, context.request_id)
    price = pricing.FREE if context.free else pricing.tariff(operation=context.operation, model=ref.qualified_name)
    return prepared_of(request, ref, price, tenant_id=caller.tenant_id, deprecation=deprecation)


def prepared_of(
    request: PredictRequest, ref: ModelRef, price: Tariff, *, tenant_id: int, deprecation: Deprecation | None = None
) -> Prepared:
    """The request of a version that is found already. Raises INVALID_INPUT."""
    payload = canonical.sent(ref.input_schema, request.input, field=f"{request.path}{request.field}")
    truncate = _truncate(ref, request)
    key = canonical.cache_key(ref, payload, tenant_id=tenant_id, truncate=truncate)
    full, cached = price.per_input, price.cached_per_input
    return Prepared(
        request, ref, payload, key, None, None, hex_id(), full, cached, full, deprecation, truncate=truncate
    )


def _truncate(ref: ModelRef, request: PredictRequest) -> int:
    """The same for all requests that have the same answer, so that they share it and its computation."""
    if not ref.reads_text:
        return REFUSE
    return TO_LIMIT if ref.max_tokens is not None and request.truncate >= ref.max_tokens else request.truncate


def answering(entry: store.Entry | None, ref: ModelRef, request: PredictRequest) -> store.Entry | None:
    """The entry, if it answers the request. Raises INVALID_INPUT where it tells that the text, which may not be cut, is too
    long: that is known then, and need not be computed again."""
    entry = store.usable(entry, ref)
    if entry is not None and entry.length is not None and request.truncate == REFUSE:
        raise _refused(entry.length, ref, request)
    return entry


def _refused(length: TextLength, ref: ModelRef, request: PredictRequest) -> PlatformError:
    return too_long(length, model=ref.name, field=f"{request.path}{request.field}")


def not_cached(request: PredictRequest) -> PlatformError:
    """No cache has an answer, and the call takes no other."""
    return PlatformError(
        ErrorKind.NOT_CACHED,
        "No cached answer is at hand, and the call allows no other (Cache-Control: only-if-cached). Nothing was charged.",
        field=f"{request.path}{request.field}",
    )


def _resolve_once(
    caller: Caller, request: PredictRequest, call_id: str, resolved: dict[str, ModelRef]
) -> tuple[ModelRef, Deprecation | None]:
    """As :func:`resolve`; models that were named without a version are looked up once for all inputs of a call.

    A pinned version is judged for each input: in a brownout each has its own chance.
    """
    ref = resolved.get(request.model)
    if ref is None:
        ref, deprecation = resolve(caller, request, call_id)
        if "@" not in (request.model or caller.default_model):
            resolved[request.model] = ref
        return ref, deprecation
    if ref.is_embedding:
        require_labels_unasked(ref, request)
    return ref, None


def resolve(caller: Caller, request: PredictRequest, call_id: str) -> tuple[ModelRef, Deprecation | None]:
    """The version that answers the request, and what ends of a pinned one. Raises NOT_FOUND, INVALID_INPUT or ``Ended``."""
    name = request.model or caller.default_model
    if not name:
        raise invalid(
            f"{request.path}model",
            "Name a model: this tenant has no default model. GET /v2/models lists them.",
        )
    deprecation = None
    if not caller.may_use(names.model_of(name)):
        raise versions.not_found(name, field=f"{request.path}model")
    if "@" in name:
        # Before it is resolved: a version that has ended may be retired, and still says where to go.
        deprecation = catalogue.judge_model_version(
            versions.subject_of(name, tenant_id=caller.tenant_id),
            tenant_id=caller.tenant_id,
            call_id=call_id,
            field=f"{request.path}model",
        )
    ref = request.resolved or versions.resolve(name, tenant_id=caller.tenant_id, field=f"{request.path}model")
    if ref.is_embedding:
        require_labels_unasked(ref, request)
    return ref, deprecation


def require_labels_unasked(ref: ModelRef, request: PredictRequest) -> None:
    """Raises INVALID_INPUT where the request wants labels of a model that answers with a vector."""
    vector = "an embedding" if ref.vector_name == "embedding" else "scores of candidates"
    if request.top_k is not None:
        raise invalid(
            f"{request.path}parameters.top_k",
            f"{ref.name} answers with {vector}, which has no labels to choose from.",
        )
    if request.labels_only:
        raise invalid(
            f"{request.path}model",
            f"{ref.name} answers with {vector}, which this API version cannot say; use v2.",
        )
