"""What the event loop knows of callers: their contracts, models and prices, looked up once a second and not for each call.

All of it comes from memory. Where something is not there, or out of the ordinary, there is no plan, and the call goes to a
thread, which may read SQL. A caller that was revoked meanwhile is refused by admission, which compares versions.
"""

from dataclasses import dataclass, field
from typing import Final

from billing import contracts, pricing
from billing.admission import Limit
from billing.contracts import Contract
from billing.pricing import Tariff
from inference.engine.preparing import Encoded, encoded_of, require_labels_unasked
from inference.registry import live, names
from inference.registry.live import LiveVersions
from inference.types import ModelRef, PredictRequest
from mlplatform.lib import clock
from mlplatform.lib.errors import PlatformError
from tenants import authentication, calling
from tenants.authentication import Caller
from tenants.deprecations import catalogue
from tenants.deprecations.catalogue import Catalogue

_KEPT_S: Final = 1.0
_MOST: Final = 10_000
_MODELS: Final = 1_000


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The version that answers a caller for a name, its price, and the limits that concern it."""

    ref: ModelRef
    tariff: Tariff
    limits: tuple[Limit, ...]


@dataclass(slots=True, eq=False)
class CallerPlan:
    """A caller with everything that calls of one input need of it; ``until`` is on the monotonic clock."""

    caller: Caller
    contract: Contract
    served: LiveVersions
    prices: object
    versions: Catalogue
    until: float
    _models: dict[str, ModelPlan | None] = field(default_factory=dict)

    def is_current(self, now: float) -> bool:
        """Whether it may be used: nothing that it was made of has changed."""
        return (
            now < self.until
            and live.at_hand() is self.served
            and pricing.at_hand() is self.prices
            and catalogue.at_hand() is self.versions
        )

    def has_no_end(self, api_version: str) -> bool:
        """Whether answers of this API version need not say that it ends."""
        known = self.versions.api_versions.get(api_version)
        return known is not None and known.schedule is None

    def model(self, name: str, *, operation: str) -> ModelPlan | None:
        """The version that answers for ``name`` or ``name@version``; None where a thread must say so, or what is wrong."""
        found = self._models.get(name, self)
        if found is self:
            if len(self._models) >= _MODELS:
                self._models.clear()
            found = self._models[name] = self._look(name, operation)
        return found  # type: ignore[return-value]

    def encode(self, request: PredictRequest, model: ModelPlan) -> Encoded:
        """The request as the model reads it. Raises INVALID_INPUT."""
        if model.ref.is_embedding:
            require_labels_unasked(model.ref, request)
        return encoded_of(request, model.ref, tenant_id=self.caller.tenant_id)

    def _look(self, name: str, operation: str) -> ModelPlan | None:
        caller = self.caller
        name = name or caller.default_model
        if not name or not caller.may_use(names.model_of(name)):
            return None
        try:
            if "@" in name and live.subject_of(name, tenant_id=caller.tenant_id) in self.versions.models:
                return None
            ref = live.resolve(name, tenant_id=caller.tenant_id)
        except PlatformError:
            return None
        if ref.input_schema["kind"] == "image" or pricing.call_fee(operation=operation, models={ref.qualified_name}):
            return None
        tariff = pricing.tariff(operation=operation, model=ref.qualified_name)
        return ModelPlan(ref, tariff, self.contract.limits_for((ref.qualified_name,)))


_plans: dict[tuple[str, str], CallerPlan] = {}


def plan_of(*, authorization: str, api_key: str) -> CallerPlan | None:
    """The plan of the caller with these headers; of the loop's thread."""
    credentials = (authorization, api_key)
    plan = _plans.get(credentials)
    now = clock.monotonic()
    if plan is not None and plan.is_current(now):
        return plan
    made = _made(authorization, api_key, now)
    if made is None:
        _plans.pop(credentials, None)
        return None
    if len(_plans) >= _MOST:
        _plans.clear()
    _plans[credentials] = made
    return made


def forget() -> None:
    """Drop everything: after a refusal that tells of a change, and for tests."""
    _plans.clear()


def _made(authorization: str, api_key: str, now: float) -> CallerPlan | None:
    served, prices, versions = live.at_hand(), pricing.at_hand(), catalogue.at_hand()
    if served is None or prices is None or versions is None:
        return None
    try:
        caller = authentication.cached(calling.secret_of(authorization=authorization, api_key=api_key))
        # Keys that are bound to addresses or documents are looked at call by call.
        if caller is None or caller.networks or caller.trusted_documents_only or "predict" not in caller.scopes:
            return None
        authentication.check(caller, address="")
    except PlatformError:
        return None
    contract = contracts.at_hand(caller)
    if contract is None:
        return None
    kept_s = _KEPT_S
    if caller.valid_until is not None:
        kept_s = min(kept_s, (caller.valid_until - clock.now()).total_seconds())
    return CallerPlan(caller, contract, served, prices, versions, now + kept_s)
