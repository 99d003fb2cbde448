"""``GET …/models`` and ``GET …/models/{model}``: what the key may see."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from rest_framework.request import Request
from rest_framework.response import Response

from billing import pricing
from billing.models import Operation
from billing.rest.views import KeyedView
from inference.registry import versions
from inference.rest import model_answers as answers
from inference.types import MeasuredOption, ModelRef
from tenants.authentication import Caller
from tenants.rest.declarations import ApiOperation, documented, in_path

SCOPE = "models:read"
_MODELS: Final = "Models"


@documented(
    get=ApiOperation(
        id="listModels",
        tag=_MODELS,
        summary="Models",
        description="Every model that the key may use, with its versions, prices and measured accuracy. Needs the scope "
        "`models:read`.",
        answer=answers.Models,
    )
)
class ModelsView(KeyedView):
    """Every model with a version that answers, among those that the key may use."""

    def get(self, request: Request, path_version: str = "") -> Response:
        return self.read(request, SCOPE, lambda caller, api_version: answers.Models(list(_models(caller).values())))


@documented(
    get=ApiOperation(
        id="getModel",
        tag=_MODELS,
        summary="One model",
        description="One model and its versions. Needs the scope `models:read`.",
        answer=answers.Model,
        parameters=[in_path("model", "The model's name.", {"type": "string"})],
    )
)
class ModelView(KeyedView):
    """One model and its versions."""

    def get(self, request: Request, path_version: str = "", model: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> answers.Model:
            found = _models(caller).get(model)
            if found is None:
                raise versions.not_found(model)
            return found

        return self.read(request, SCOPE, handle)


def _models(caller: Caller) -> dict[str, answers.Model]:
    """By name. Where a tenant's own version is ready beside a model on sale of that name, both are versions of the name, and what
    is said of the model is of the one that is live."""
    named: dict[str, list[ModelRef]] = {}
    for model in versions.answering(tenant_id=caller.tenant_id):
        if caller.may_use(model.name):
            named.setdefault(model.name, []).append(model)
    return {name: _model(refs) for name, refs in named.items()}


def _model(refs: Sequence[ModelRef]) -> answers.Model:
    live = next((model for model in refs if model.live), None)
    model = live or refs[0]
    price = pricing.tariff(operation=Operation.PREDICT.value, model=model.qualified_name)
    return answers.Model(
        name=model.name,
        title=model.title,
        description=model.description,
        live_version=live.version if live is not None else None,
        price=answers.ModelPrice(price.per_call, price.per_input, price.cached_per_input),
        versions=[_version(one) for one in refs],
    )


def _version(model: ModelRef) -> answers.ModelVersion:
    return answers.ModelVersion(
        version=model.version,
        state="live" if model.live else "ready",
        task=model.runtime,
        input=dict(model.input_schema),
        output=dict(model.output_schema),
        labels=list(model.labels),
        accuracy=model.accuracy,
        accuracy_note=model.accuracy_note,
        precision=model.precision,
        acceleration=model.acceleration,
        measurements=[_measured(measured) for measured in model.measurements],
        max_batch_size=model.max_batch_size,
    )


def _measured(measured: MeasuredOption) -> answers.Measurement:
    return answers.Measurement(**asdict(measured) | {"measured_at": measured.measured_at.isoformat()})
