"""``GET …/models`` and ``GET …/models/{model}``: what the key may see."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from billing import pricing
from billing.models import Operation
from billing.rest.views import KeyedView
from inference.registry import versions
from inference.types import MeasuredOption, ModelRef
from tenants.authentication import Caller

SCOPE = "models:read"


class ModelsView(KeyedView):
    """Every model with a version that answers, among those that the key may use."""

    def get(self, request: Request, path_version: str = "") -> Response:
        return self.read(request, SCOPE, lambda caller, api_version: {"models": list(_models(caller).values())})


class ModelView(KeyedView):
    """One model and its versions."""

    def get(self, request: Request, path_version: str = "", model: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> dict[str, Any]:
            found = _models(caller).get(model)
            if found is None:
                raise versions.not_found(model)
            return found

        return self.read(request, SCOPE, handle)


def _models(caller: Caller) -> dict[str, dict[str, Any]]:
    """By name. Where a tenant's own version is ready beside a model on sale of that name, both are versions of the name, and what
    is said of the model is of the one that is live."""
    named: dict[str, list[ModelRef]] = {}
    for ref in versions.answering(tenant_id=caller.tenant_id):
        if caller.may_use(ref.name):
            named.setdefault(ref.name, []).append(ref)
    return {name: _model(refs) for name, refs in named.items()}


def _model(refs: Sequence[ModelRef]) -> dict[str, Any]:
    live = next((ref for ref in refs if ref.live), None)
    ref = live or refs[0]
    price = pricing.tariff(operation=Operation.PREDICT.value, model=ref.qualified_name)
    return {
        "name": ref.name,
        "title": ref.title,
        "description": ref.description,
        "live_version": live.version if live is not None else None,
        "price": {
            "units_per_call": price.per_call,
            "units_per_input": price.per_input,
            "units_per_cached_input": price.cached_per_input,
        },
        "versions": [_version(one) for one in refs],
    }


def _version(ref: ModelRef) -> dict[str, Any]:
    return {
        "version": ref.version,
        "state": "live" if ref.live else "ready",
        "task": ref.runtime,
        "input": ref.input_schema,
        "output": ref.output_schema,
        "labels": list(ref.labels),
        "accuracy": ref.accuracy,
        "accuracy_note": ref.accuracy_note,
        "precision": ref.precision,
        "acceleration": ref.acceleration,
        "measurements": [_measured(measured) for measured in ref.measurements],
        "max_batch_size": ref.max_batch_size,
    }


def _measured(measured: MeasuredOption) -> dict[str, Any]:
    return asdict(measured) | {"measured_at": measured.measured_at.isoformat()}
