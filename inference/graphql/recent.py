"""The tenant's latest predictions, from the ledger."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

import graphene
from django.db.models import QuerySet
from graphene import relay

from billing.models import Operation, UsageRecord
from inference.graphql.models import ModelLoader, ModelType, ModelVersionType, VersionLoader
from mlplatform.lib.deferred import Loader
from mlplatform.lib.graphql_cost import cost
from tenants.graphql import ids, keys, paging
from tenants.graphql.call import GraphQLCall
from tenants.graphql.ids import Node

ORDER: Final = paging.Order("predictions", (("occurred_at", dt.datetime), ("pk", str)), descending=True)
_OPERATIONS: Final = (Operation.PREDICT, Operation.BATCH)


class RecentPrediction(graphene.ObjectType):
    """One prediction as the ledger keeps it; its input and its answer are not kept."""

    class Meta:
        interfaces = (Node,)
        possible_types = (UsageRecord,)

    prediction_id = graphene.String(required=True, description="The id that its answer had.")
    request_id = graphene.String(required=True)
    at = graphene.DateTime(required=True)
    operation = graphene.String(required=True)
    api_version = graphene.String(required=True, description="Of REST, or the name of the protocol.")
    model_name = graphene.String(required=True)
    model_version = graphene.String(required=True)
    inputs = graphene.Int(required=True)
    cached = graphene.Boolean(required=True)
    units = graphene.BigInt(required=True)
    key_id = graphene.String(required=True)
    model = cost(graphene.Field(ModelType, description="Null for one that the key may not use."), scope="models:read")
    version = cost(
        graphene.Field(ModelVersionType, description="Null for one that the key may not use."), scope="models:read"
    )
    key = cost(graphene.Field(keys.Key), scope="tenant:read")

    @staticmethod
    def resolve_id(root: UsageRecord, info: graphene.ResolveInfo) -> str:
        return ids.encode("RecentPrediction", root.pk)

    @staticmethod
    def resolve_prediction_id(root: UsageRecord, info: graphene.ResolveInfo) -> str:
        return root.pk

    @staticmethod
    def resolve_at(root: UsageRecord, info: graphene.ResolveInfo) -> dt.datetime:
        return root.occurred_at

    @staticmethod
    def resolve_model_name(root: UsageRecord, info: graphene.ResolveInfo) -> str:
        return root.model

    @staticmethod
    def resolve_key_id(root: UsageRecord, info: graphene.ResolveInfo) -> str:
        return root.key_uid

    @staticmethod
    def resolve_model(root: UsageRecord, info: graphene.ResolveInfo) -> Any:
        return info.context.loader(ModelLoader).load(root.model)

    @staticmethod
    def resolve_version(root: UsageRecord, info: graphene.ResolveInfo) -> Any:
        return info.context.loader(VersionLoader).load((root.model, root.model_version))

    @staticmethod
    def resolve_key(root: UsageRecord, info: graphene.ResolveInfo) -> Any:
        return info.context.loader(keys.KeyLoader).load(root.key_uid)


class RecentPredictionConnection(relay.Connection):
    class Meta:
        node = RecentPrediction
        strict_types = True


class RecordLoader(Loader[str, UsageRecord]):
    """Predictions of the caller's tenant by the id of the record."""

    def fetch(self, keys: Sequence[str]) -> Mapping[str, UsageRecord]:
        return _predictions(self.call).in_bulk(list(keys))


class TenantFields:
    """Fields of the type ``Tenant``."""

    recent_predictions = paging.connection(
        RecentPredictionConnection,
        scope="usage:read",
        description="Its predictions, the latest first; a few seconds behind.",
    )

    @staticmethod
    def resolve_recent_predictions(root: Any, info: graphene.ResolveInfo, **page: Any) -> Any:
        return paging.of_rows(_predictions(info.context), ORDER, **page).of(RecentPredictionConnection)


def node(call: GraphQLCall, key: str) -> Any:
    """For ``node(id)``."""
    return call.loader(RecordLoader).load(key).then(ids.found)


def _predictions(call: GraphQLCall) -> "QuerySet[UsageRecord]":
    # A batch's fee is a record without a model. What was taken back was no prediction: the call had been refused.
    records = UsageRecord.objects.filter(tenant_id=call.key.tenant_id, operation__in=_OPERATIONS)
    return records.exclude(model="").filter(voids__isnull=True, voided_by__isnull=True)
