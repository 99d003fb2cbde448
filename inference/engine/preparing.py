"""From a request to an input that may be admitted, as far as memory tells: resolve the model, canonicalise, price."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from billing import pricing
from billing.contracts import Contract
from billing.pricing import Tariff
from inference.batching import policy
from inference.cache import store
from inference.cache.waiters import SharedWork
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
    """An input that may be admitted: its model, canonical bytes, the answer or the equal computation at hand, and its outcome.

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
    work: SharedWork | None = None
    """Its own computation; an equal one that it waits for is ``joined``."""
    outcome: bytes | PlatformError | None = None
    """Scores as float32 bytes, or its problem; None until it has one, and where the call has a problem as a whole."""

    def begin_anew(self) -> None:
        """Be as it was prepared."""
        self.entry = self.joined = self.work = self.outcome = None
        self.left = self.claimed_charge = False
        self.units = self.full_units

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
        return canonical.is_packed(self.payload)

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
        """The canonical bytes of an image. Raises INVALID_INPUT for a damaged one, TOO_MANY_ATTEMPTS where no pixels are left,
        and TIMEOUT ``until`` when (monotonic clock) none could be unpacked."""
        pixel_budget.take(contract, canonical.pixels_of(self.payload, field=self.field), field=self.field)
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


def prepare(caller: Caller, requests: Sequence[PredictRequest], context: CallContext) -> list[Prepared | PlatformError]:
    """Each request of a call ready for the waves, or its problem, in order. Models and prices are looked up once."""
    resolved: dict[str, ModelRef] = {}
    prices: dict[str, Tariff] = {}
    pixels = 0
    prepared: list[Prepared | PlatformError] = []
    for request in requests:
        try:
            ref, deprecation = _resolve_once(caller, request, context.request_id, resolved)
            price = prices.get(ref.qualified_name)
            if price is None:
                price = prices[ref.qualified_name] = _price(ref, context)
            item = prepared_of(request, ref, price, tenant_id=caller.tenant_id, deprecation=deprecation)
            pixels += canonical.pixels_of(item.payload, field=item.field)
            pixel_budget.require_for_call(pixels, field=item.field)
            prepared.append(item)
        except PlatformError as problem:
            prepared.append(problem)
    return prepared


def prepare_single(caller: Caller, request: PredictRequest, context: CallContext) -> Prepared:
    """The request of a call of one input ready for the waves. Raises NOT_FOUND, INVALID_INPUT or ``Ended``."""
    (item,) = prepare(caller, (request,), context)
    if isinstance(item, PlatformError):
        raise item
    return item


class Encoded(NamedTuple):
    """A request as the version that answers it reads it; the same for every call with an equal body."""

    request: PredictRequest
    ref: ModelRef
    payload: bytes
    key: bytes
    truncate: int


def prepared_of(
    request: PredictRequest, ref: ModelRef, price: Tariff, *, tenant_id: int, deprecation: Deprecation | None = None
) -> Prepared:
    """The request of a version that is found already. Raises INVALID_INPUT."""
    return ready_to_admit(encoded_of(request, ref, tenant_id=tenant_id), price, deprecation)


def encoded_of(request: PredictRequest, ref: ModelRef, *, tenant_id: int) -> Encoded:
    """The request of a version that is found already. Raises INVALID_INPUT."""
    payload = canonical.sent(ref.input_schema, request.input, field=f"{request.path}{request.field}")
    truncate = _truncate(ref, request)
    return Encoded(
        request, ref, payload, canonical.cache_key(ref, payload, tenant_id=tenant_id, truncate=truncate), truncate
    )


def ready_to_admit(encoded: Encoded, price: Tariff, deprecation: Deprecation | None = None) -> Prepared:
    """An input of a call of its own, with a fresh id."""
    request, ref, payload, key, truncate = encoded
    full, cached = price.per_input, price.cached_per_input
    return Prepared(
        request, ref, payload, key, None, None, hex_id(), full, cached, full, deprecation, truncate=truncate
    )


def _price(ref: ModelRef, context: CallContext) -> Tariff:
    return pricing.FREE if context.free else pricing.tariff(operation=context.operation, model=ref.qualified_name)


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
