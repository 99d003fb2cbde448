"""``predict`` and ``batchPredict``."""

from collections.abc import Mapping, Sequence
from typing import Any

import graphene
from django.conf import settings

from billing.models import Operation
from inference.graphql import inputs
from inference.graphql.answers import ModelPrediction, PredictionOutcome
from inference.graphql.calling import BatchCall, PredictionLoader, Result, SingleCall
from inference.graphql.inputs import BatchArguments, PredictArguments
from inference.inputs import truncation
from inference.types import PredictRequest
from mlplatform.lib.errors import PlatformError, invalid
from mlplatform.lib.graphql_cost import cost
from tenants.graphql import messages
from tenants.graphql.call import GraphQLCall


def _single(arguments: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What ``predict`` costs. Raises INVALID_INPUT for arguments that cannot be read; its resolver says so, uncharged."""
    arguments = dict(arguments)
    inputs.read(arguments.pop("input_data", None), arguments.pop("input", None))
    return [(Operation.PREDICT.value, [messages.read(arguments, PredictArguments).model or ""])]


def _matrix(arguments: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What ``batchPredict`` costs. Raises INVALID_INPUT for more than one call takes; its resolver says so before any is made."""
    said = messages.read(arguments, BatchArguments)
    rows, columns = len(said.inputs), len(said.models)
    if rows * columns > settings.MAX_BATCH_REQUESTS:
        raise invalid(
            "inputs",
            f"{rows:,} inputs for {columns:,} models are {rows * columns:,} predictions; a call takes at most "
            f"{settings.MAX_BATCH_REQUESTS}.",
        )
    return [(Operation.BATCH.value, list(said.models) * rows)]


class Query:
    """Predictions."""

    predict = cost(
        graphene.Field(
            ModelPrediction,
            input_data=graphene.String(description="The text; for other inputs use `input`."),
            input=inputs.PredictionInput(description="In place of inputData."),
            **messages.arguments(PredictArguments),
            description="One input through one model. Several of them in a query, under aliases, run in parallel; each is "
            "a call of its own.",
        ),
        scope="predict",
        predicts=_single,
    )
    batch_predict = cost(
        graphene.Field(
            graphene.List(graphene.NonNull(graphene.List(graphene.NonNull(ModelPrediction)))),
            required=True,
            **messages.arguments(BatchArguments),
            description="Every input through every model, in parallel, as one call: row i is input i, column j model j. An "
            "item that fails has its `error` and leaves the others.",
        ),
        predicts=_matrix,
    )

    @staticmethod
    def resolve_predict(
        root: Any,
        info: graphene.ResolveInfo,
        input_data: str | None = None,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the argument's name
        **arguments: Any,
    ) -> Any:
        call: GraphQLCall = info.context
        value, place = inputs.read(input_data, input)
        said = messages.read(arguments, PredictArguments)
        request = PredictRequest(
            model=said.model or "",
            input=value,
            top_k=said.top_k,
            field=place,
            call_id=call.next_call_id(),
            truncate=truncation.flag(said.truncate),
        )

        def outcome(results: Sequence[Result]) -> PredictionOutcome:
            (result,) = results
            if isinstance(result, PlatformError):
                raise _of_call(result, request.call_id)
            return PredictionOutcome(result.model, request.call_id, result)

        return call.loader(PredictionLoader).load(SingleCall(request)).then(outcome)

    @staticmethod
    def resolve_batch_predict(
        root: Any,
        info: graphene.ResolveInfo,
        inputs: Sequence[str],
        models: Sequence[str],
        truncate: bool | None = None,
    ) -> Any:
        call: GraphQLCall = info.context
        _matrix({"inputs": inputs, "models": models})
        call_id = call.next_call_id()
        requests = tuple(
            PredictRequest(model=model, input=text, field=f"inputs[{row}]", truncate=truncation.flag(truncate))
            for row, text in enumerate(inputs)
            for model in models
        )

        def outcomes(results: Sequence[Result]) -> list[list[PredictionOutcome]]:
            width = len(models)
            told: set[int] = set()
            items = [
                PredictionOutcome(models[place % width], call_id, _of_column(result, place % width, call_id), told)
                for place, result in enumerate(results)
            ]
            return [items[start : start + width] for start in range(0, len(items), width)]

        def refused(error: Exception) -> list[list[PredictionOutcome]]:
            # The field cannot be null, and would take every other field of the query with it, whose predictions were made
            # and charged. So a refusal of the whole call is told by each item.
            if not isinstance(error, PlatformError):
                raise error
            return outcomes([error] * len(requests))

        return call.loader(PredictionLoader).load(BatchCall(requests, call_id)).then(outcomes, refused)


def _of_column(result: Result, column: int, call_id: str) -> Result:
    """A problem with a model names the column that asked for it."""
    if isinstance(result, PlatformError):
        if result.field == "model":
            result.field = f"models[{column}]"
        return _of_call(result, call_id)
    return result


def _of_call(error: PlatformError, call_id: str) -> PlatformError:
    """The problem in the words of the schema. It names the call's own request id, by which it can be explained."""
    if error.field == "parameters.top_k":
        error.field = "topK"
    error.detail = truncation.in_words(error, "truncate: true")
    error.extra["request_id"] = call_id
    return error
