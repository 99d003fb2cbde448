"""What a prediction answers with: the types of ``predict`` and ``batchPredict``."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import graphene

from inference.graphql.calling import Result
from inference.types import LabelScore, PredictResult, TextLength
from mlplatform.lib.errors import PlatformError
from tenants.graphql.deprecations import DeprecatedField, FieldDeprecation


@dataclass(slots=True)
class PredictionOutcome:
    """One item: what was asked of which model, and the result or the problem.

    ``told`` is shared by the items of a call and has the problems that stand in ``errors`` already, by identity: the
    refusal of a whole call is the problem of each of its items, and is said once.
    """

    model: str
    call_id: str
    result: Result
    told: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Answering:
    """The model and the version that answered; of a failed item the model as it was asked for."""

    name: str
    version: str | None


class ModelReference(graphene.ObjectType):
    """Which model version answered."""

    class Meta:
        possible_types = (Answering,)

    name = graphene.String(required=True)
    version = graphene.String(description="Null for an item that failed.")


class Prediction(graphene.ObjectType):
    """A label and how probable it is."""

    class Meta:
        possible_types = (LabelScore,)

    label = graphene.String(required=True)
    score = graphene.Float(required=True, description="0 to 1.")

    @staticmethod
    def resolve_score(root: LabelScore, info: graphene.ResolveInfo) -> float:
        return root.rounded


class Truncation(graphene.ObjectType):
    """A text had more tokens than the model reads, and was cut."""

    class Meta:
        possible_types = (TextLength,)

    tokens = graphene.Int(required=True, description="Of the whole text, special ones included.")
    max_tokens = graphene.Int(required=True, description="How many of them were read.")


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem that is told as data: an exception as a value would be raised."""

    code: str
    message: str
    field: str | None
    retry_after: float | None


class ItemError(graphene.ObjectType):
    """Why an item of a batch has no answer. Nothing was charged for it."""

    class Meta:
        possible_types = (Problem,)

    code = graphene.String(required=True, description="As in the extensions of errors, such as INVALID_INPUT.")
    message = graphene.String(required=True)
    field = graphene.String(description="The part of the arguments that is wrong, such as `inputs[2]`.")
    retry_after = graphene.Float(description="Seconds, where trying again later can succeed.")


class ModelPrediction(graphene.ObjectType):
    """One input through one model version.

    An item of a batch that failed has its `error`; its `predictions` and `embedding` are null, and the first of them
    that is asked for stands in the `errors` of the answer, with its path.
    """

    class Meta:
        possible_types = (PredictionOutcome,)

    id = graphene.ID(description="Under which its usage record is kept; null for an item that failed.")
    request_id = graphene.String(required=True, description="Of this call, to be named when you ask us about it.")
    model = graphene.Field(ModelReference, required=True)
    predictions = graphene.List(
        graphene.NonNull(Prediction), description="The labels, best first; null for a model that gives a vector."
    )
    embedding = graphene.List(graphene.NonNull(graphene.Float), description="Of a model that turns its input into one.")
    scores = graphene.List(
        graphene.NonNull(graphene.Float), description="Of a model that scores candidates, such as `recommender`."
    )
    cached = graphene.Boolean(required=True)
    units = graphene.Int(required=True, description="What it cost.")
    latency_ms = graphene.Float()
    truncated = graphene.Field(Truncation, description="Null unless the text was cut, which `truncate` allows.")
    error = graphene.Field(ItemError, description="Only of an item of a batch.")
    prediction = DeprecatedField(
        graphene.String,
        ends=FieldDeprecation("ModelPrediction.prediction", api_version="v1", use="predictions[0].label"),
        description="The best label, as REST v1 has it: programs that come from there can change later. Ends with v1.",
    )
    confidence = DeprecatedField(
        graphene.Float,
        ends=FieldDeprecation("ModelPrediction.confidence", api_version="v1", use="predictions[0].score"),
        description="How sure the model is of it, as REST v1 has it. Ends with v1.",
    )

    @staticmethod
    def resolve_id(root: PredictionOutcome, info: graphene.ResolveInfo) -> str | None:
        return root.result.id if isinstance(root.result, PredictResult) else None

    @staticmethod
    def resolve_request_id(root: PredictionOutcome, info: graphene.ResolveInfo) -> str:
        return root.call_id

    @staticmethod
    def resolve_model(root: PredictionOutcome, info: graphene.ResolveInfo) -> Answering:
        if isinstance(root.result, PredictResult):
            return Answering(root.result.model, root.result.model_version)
        return Answering(root.model, None)

    @staticmethod
    def resolve_predictions(root: PredictionOutcome, info: graphene.ResolveInfo) -> Sequence[LabelScore] | None:
        result = _told(root)
        return result.predictions if result is not None else None

    @staticmethod
    def resolve_embedding(root: PredictionOutcome, info: graphene.ResolveInfo) -> list[float] | None:
        return _vector(root, "embedding")

    @staticmethod
    def resolve_scores(root: PredictionOutcome, info: graphene.ResolveInfo) -> list[float] | None:
        return _vector(root, "scores")

    @staticmethod
    def resolve_prediction(root: PredictionOutcome, info: graphene.ResolveInfo) -> str | None:
        best = _best(root)
        return best.label if best is not None else None

    @staticmethod
    def resolve_confidence(root: PredictionOutcome, info: graphene.ResolveInfo) -> float | None:
        best = _best(root)
        return best.rounded if best is not None else None

    @staticmethod
    def resolve_cached(root: PredictionOutcome, info: graphene.ResolveInfo) -> bool:
        return isinstance(root.result, PredictResult) and root.result.cached

    @staticmethod
    def resolve_units(root: PredictionOutcome, info: graphene.ResolveInfo) -> int:
        return root.result.units if isinstance(root.result, PredictResult) else 0

    @staticmethod
    def resolve_latency_ms(root: PredictionOutcome, info: graphene.ResolveInfo) -> float | None:
        return root.result.latency_ms if isinstance(root.result, PredictResult) else None

    @staticmethod
    def resolve_truncated(root: PredictionOutcome, info: graphene.ResolveInfo) -> TextLength | None:
        return root.result.truncated if isinstance(root.result, PredictResult) else None

    @staticmethod
    def resolve_error(root: PredictionOutcome, info: graphene.ResolveInfo) -> Problem | None:
        error = root.result
        if isinstance(error, PlatformError):
            return Problem(error.kind.name, error.detail, error.field, error.retry_after_s)
        return None


def _told(item: PredictionOutcome) -> PredictResult | None:
    """The result. Raises the problem of an item that failed, once: its other fields are null without saying it again."""
    if isinstance(item.result, PlatformError):
        if id(item.result) in item.told:
            return None
        item.told.add(id(item.result))
        raise item.result
    return item.result


def _vector(item: PredictionOutcome, name: str) -> list[float] | None:
    result = _told(item)
    if result is None or result.embedding is None or result.vector_name != name:
        return None
    numbers: list[float] = result.embedding.tolist()
    return numbers


def _best(item: PredictionOutcome) -> LabelScore | None:
    result = _told(item)
    return result.predictions[0] if result is not None and result.predictions else None
