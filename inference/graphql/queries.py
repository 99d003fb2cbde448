"""What this floor adds to the schema: models, predictions, the audience, and the tenant's latest predictions."""

from typing import Any, Final

import graphene

from inference.graphql import audience, models, predictions, recent
from inference.graphql.models import Model, ModelConnection, ModelType, models_of
from inference.registry import versions
from mlplatform.lib.graphql_cost import cost
from tenants.graphql import paging

MODELS_SCOPE: Final = "models:read"

TenantFields = recent.TenantFields


class Query(predictions.Query, audience.Query):
    """Models, predictions and the audience."""

    models = paging.connection(ModelConnection, scope=MODELS_SCOPE, description="Those that the key may use, by name.")
    model = cost(graphene.Field(ModelType, name=graphene.String(required=True)), scope=MODELS_SCOPE)

    @staticmethod
    def resolve_models(root: Any, info: graphene.ResolveInfo, **page: Any) -> Any:
        return paging.of_list(models_of(info.context), models.ORDER, **page).of(ModelConnection)

    @staticmethod
    def resolve_model(root: Any, info: graphene.ResolveInfo, name: str) -> Model:
        found = next((model for model in models_of(info.context) if model.name == name), None)
        if found is None:
            raise versions.not_found(name, field="name")
        return found


NODES: Final = {
    "Model": (MODELS_SCOPE, models.model_node),
    "ModelVersion": (MODELS_SCOPE, models.version_node),
    "RecentPrediction": ("usage:read", recent.node),
    "EndUser": (audience.SCOPE, audience.user_node),
    "Item": (audience.SCOPE, audience.item_node),
}
"""By type: the scope that ``node(id)`` asks for, and how the object is found within the caller's tenant."""
