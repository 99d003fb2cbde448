"""Models and their versions: from memory what answers, from SQL what a tenant's past calls used."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import graphene
from graphene import relay

from billing import pricing
from billing.models import Operation
from billing.pricing import Tariff
from inference.graphql.deprecations import ModelVersionDeprecation, VersionDeprecation, deprecation_of
from inference.graphql.measurements import MeasurementLoader, ModelMeasurement
from inference.models import MLModel, VersionState
from inference.registry import names
from inference.registry import versions as model_versions
from inference.types import ModelRef
from mlplatform.lib.deferred import Loader
from mlplatform.lib.graphql_cost import cost
from tenants.graphql import ids, paging
from tenants.graphql.call import GraphQLCall
from tenants.graphql.ids import Node
from tenants.graphql.scalars import JSON

ORDER: Final = paging.Order("models", (("name", str),))
_VERSIONS: Final = 5
_MEASUREMENTS: Final = 3
"""How many versions of a model, and measurements of a version, the cost of a query assumes; what is beyond them is free."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the caller may use; ``qualified_name`` is what meters and schedules call it."""

    name: str
    qualified_name: str
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Version:
    """A version of such a model: one that answers, or one that is retired."""

    ref: ModelRef
    state: str


class VersionStateEnum(graphene.Enum):
    """Live: it answers calls that name the model alone. Ready: it answers calls that pin it. Retired: it answers no calls."""

    class Meta:
        name = "ModelVersionState"

    LIVE = "live"
    READY = "ready"
    RETIRED = "retired"


class Price(graphene.ObjectType):
    """What a prediction costs, in units."""

    class Meta:
        possible_types = (Tariff,)

    per_call = graphene.Int(required=True)
    per_input = graphene.Int(required=True)
    per_cached_input = graphene.Int(required=True)

    @staticmethod
    def resolve_per_cached_input(root: Tariff, info: graphene.ResolveInfo) -> int:
        return root.cached_per_input


class ModelVersionType(graphene.ObjectType):
    """One semantic version of a model."""

    class Meta:
        name = "ModelVersion"
        interfaces = (Node,)
        possible_types = (Version,)

    version = graphene.String(required=True, description="A semantic version, such as 1.2.0.")
    reference = graphene.String(required=True, description="What a call names to pin it, such as sentiment@1.2.0.")
    state = graphene.Field(VersionStateEnum, required=True)
    live = graphene.Boolean(required=True)
    task = graphene.String(required=True, description="Such as text-classification.")
    input_schema = JSON(required=True)
    output_schema = JSON(required=True)
    labels = graphene.List(graphene.NonNull(graphene.String), required=True, description="Empty for embeddings.")
    accuracy = graphene.Float(description="Held out, 0 to 1.")
    accuracy_note = graphene.String(description="How it was measured.")
    precision = graphene.String(required=True, description="In what numbers it computes, such as float32.")
    acceleration = graphene.String(required=True, description="Such as none, or compile.")
    measurements = cost(
        graphene.List(
            graphene.NonNull(ModelMeasurement),
            required=True,
            description="In each option that was measured, also in those in which this version does not serve.",
        ),
        assumed=_MEASUREMENTS,
    )
    max_batch_size = graphene.Int(required=True)
    deprecation = cost(graphene.Field(ModelVersionDeprecation, description="Null while no end is announced."))
    model = cost(graphene.Field(lambda: ModelType, required=True))

    @staticmethod
    def resolve_id(root: Version, info: graphene.ResolveInfo) -> str:
        return ids.encode("ModelVersion", root.ref.qualified_reference)

    @staticmethod
    def resolve_version(root: Version, info: graphene.ResolveInfo) -> str:
        return root.ref.version

    @staticmethod
    def resolve_reference(root: Version, info: graphene.ResolveInfo) -> str:
        return _reference(root.ref)

    @staticmethod
    def resolve_live(root: Version, info: graphene.ResolveInfo) -> bool:
        return root.ref.live

    @staticmethod
    def resolve_task(root: Version, info: graphene.ResolveInfo) -> str:
        return root.ref.runtime

    @staticmethod
    def resolve_input_schema(root: Version, info: graphene.ResolveInfo) -> Mapping[str, Any]:
        return root.ref.input_schema

    @staticmethod
    def resolve_output_schema(root: Version, info: graphene.ResolveInfo) -> Mapping[str, Any]:
        return root.ref.output_schema

    @staticmethod
    def resolve_labels(root: Version, info: graphene.ResolveInfo) -> Sequence[str]:
        return root.ref.labels

    @staticmethod
    def resolve_accuracy(root: Version, info: graphene.ResolveInfo) -> float | None:
        return root.ref.accuracy

    @staticmethod
    def resolve_accuracy_note(root: Version, info: graphene.ResolveInfo) -> str | None:
        return root.ref.accuracy_note or None

    @staticmethod
    def resolve_precision(root: Version, info: graphene.ResolveInfo) -> str:
        return root.ref.precision

    @staticmethod
    def resolve_acceleration(root: Version, info: graphene.ResolveInfo) -> str:
        return root.ref.acceleration

    @staticmethod
    def resolve_measurements(root: Version, info: graphene.ResolveInfo) -> Any:
        if root.state == VersionState.RETIRED:
            return info.context.loader(MeasurementLoader).load(root.ref.version_id)
        return root.ref.measurements

    @staticmethod
    def resolve_max_batch_size(root: Version, info: graphene.ResolveInfo) -> int:
        return root.ref.max_batch_size

    @staticmethod
    def resolve_deprecation(root: Version, info: graphene.ResolveInfo) -> VersionDeprecation | None:
        return deprecation_of(root.ref.qualified_reference, tenant_id=info.context.key.tenant_id)

    @staticmethod
    def resolve_model(root: Version, info: graphene.ResolveInfo) -> Model:
        return _model(root.ref)


class ModelType(graphene.ObjectType):
    """A model on sale, under a name that stays while its versions change."""

    class Meta:
        name = "Model"
        interfaces = (Node,)
        possible_types = (Model,)

    name = graphene.String(required=True)
    title = graphene.String(required=True)
    description = graphene.String(required=True)
    price = cost(graphene.Field(Price, required=True, description="Of one prediction."))
    live_version = cost(graphene.Field(ModelVersionType, description="Answers calls that name the model alone."))
    versions = cost(
        graphene.List(graphene.NonNull(ModelVersionType), required=True, description="Those that answer."),
        assumed=_VERSIONS,
    )

    @staticmethod
    def resolve_id(root: Model, info: graphene.ResolveInfo) -> str:
        return ids.encode("Model", root.qualified_name)

    @staticmethod
    def resolve_price(root: Model, info: graphene.ResolveInfo) -> Tariff:
        return pricing.tariff(operation=Operation.PREDICT.value, model=root.qualified_name)

    @staticmethod
    def resolve_live_version(root: Model, info: graphene.ResolveInfo) -> Version | None:
        return next((version for version in versions_of(info.context, root) if version.ref.live), None)

    @staticmethod
    def resolve_versions(root: Model, info: graphene.ResolveInfo) -> list[Version]:
        return versions_of(info.context, root)


class ModelConnection(relay.Connection):
    class Meta:
        node = ModelType
        name = "ModelConnection"
        strict_types = True


class VersionLoader(Loader[tuple[str, str], Version]):
    """Versions that the tenant's calls used, by the model's qualified name and version: those that answer, and retired ones; no
    others."""

    def fetch(self, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Version]:
        may_use = _usable_by(self.call)
        answering = {(ref.qualified_name, ref.version): ref for ref in _all_answering_to(self.call)}
        found = {key: _answering(answering[key]) for key in keys if key in answering}
        missing = [key for key in keys if key not in found and may_use(key[0])]
        if missing:
            rows = names.versions().filter(
                state=VersionState.RETIRED,
                model__name__in={names.plain(name) for name, _ in missing},
                version__in={version for _, version in missing},
            )
            found |= {
                (row.model.qualified_name, row.version): Version(model_versions.reference(row), row.state)
                for row in rows
            }
        return {key: version for key, version in found.items() if key in set(keys)}


class ModelLoader(Loader[str, Model]):
    """Models by qualified name, whether or not a version answers."""

    def fetch(self, keys: Sequence[str]) -> Mapping[str, Model]:
        may_use = _usable_by(self.call)
        answering = {ref.qualified_name: ref for ref in _all_answering_to(self.call)}
        found = {key: _model(answering[key]) for key in keys if key in answering}
        missing = [key for key in keys if key not in found and may_use(key)]
        if missing:
            # What only staged versions make is not known to customers yet.
            rows = MLModel.objects.select_related("owner").filter(
                name__in={names.plain(name) for name in missing}, versions__state=VersionState.RETIRED
            )
            made = (Model(row.name, row.qualified_name, row.title, row.description) for row in rows.distinct())
            found |= {model.qualified_name: model for model in made if model.qualified_name in missing}
        return found


def models_of(call: GraphQLCall) -> list[Model]:
    """Every model with a version that answers, among those that the key may use, by name."""
    found: dict[str, ModelRef] = {}
    for ref in _answering_to(call):
        if ref.live or ref.name not in found:
            found[ref.name] = ref
    return [_model(found[name]) for name in sorted(found)]


def versions_of(call: GraphQLCall, model: Model) -> list[Version]:
    """The versions of a model that answer, oldest first; none for a model that the key may not use.

    Of a model on sale whose name stands for the tenant's own by now, its own versions; else all that the name stands for.
    """
    named = [ref for ref in _answering_to(call) if ref.name == model.name]
    if all(ref.qualified_name != model.qualified_name for ref in named):
        named = [ref for ref in _all_answering_to(call) if ref.qualified_name == model.qualified_name]
    return [_answering(ref) for ref in named]


def model_node(call: GraphQLCall, key: str) -> Any:
    """For ``node(id)``."""
    return call.loader(ModelLoader).load(key).then(ids.found)


def version_node(call: GraphQLCall, key: str) -> Any:
    """For ``node(id)``."""
    name, _, version = key.partition("@")
    return call.loader(VersionLoader).load((name, version)).then(ids.found)


def _answering_to(call: GraphQLCall) -> list[ModelRef]:
    """The versions that answer, among those that the key may use."""
    key = call.key
    return [ref for ref in model_versions.answering(tenant_id=key.tenant_id) if key.may_use(ref.name)]


def _all_answering_to(call: GraphQLCall) -> list[ModelRef]:
    """The same, with models on sale whose names the tenant's own have."""
    shared = [ref for ref in model_versions.answering() if call.key.may_use(ref.name)]
    return [*shared, *_answering_to(call)]


def _usable_by(call: GraphQLCall) -> Callable[[str], bool]:
    """Whether a model, of which perhaps nothing answers any more, may be shown to the key."""
    key = call.key
    return lambda name: key.may_use(names.plain(name)) and model_versions.is_visible_to(name, tenant_id=key.tenant_id)


def _answering(ref: ModelRef) -> Version:
    return Version(ref, "live" if ref.live else "ready")


def _model(ref: ModelRef) -> Model:
    return Model(ref.name, ref.qualified_name, ref.title, ref.description)


def _reference(ref: ModelRef) -> str:
    return f"{ref.name}@{ref.version}"
