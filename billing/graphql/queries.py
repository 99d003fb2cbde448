"""What this floor knows of the caller and its tenant; the roof puts it together with the other floors' fields."""

from typing import Any

import graphene

from billing import contracts, models
from billing.graphql import limits, usage
from mlplatform.lib.graphql_cost import cost
from tenants.authentication import Caller
from tenants.graphql.queries import CallersTenant


class Plan(graphene.ObjectType):
    """What the tenant pays a month, and what that includes."""

    class Meta:
        possible_types = (models.Plan,)

    name = graphene.String(required=True)
    description = graphene.String(required=True)
    currency = graphene.String(required=True)
    monthly_fee = graphene.Decimal(required=True)
    included_units = graphene.BigInt(required=True, description="A calendar month (UTC).")
    overage_price = graphene.Decimal(description="Of one unit beyond the included ones; null: calls are refused then.")


class TenantFields:
    """Fields of the type ``Tenant``."""

    plan = cost(graphene.Field(Plan, description="Null for a tenant without one."), scope="tenant:read")
    limits = limits.limits_field()
    usage = usage.usage_field()

    @staticmethod
    def resolve_plan(root: CallersTenant, info: graphene.ResolveInfo) -> Any:
        return contracts.plan_now(root.caller.tenant_id)

    @staticmethod
    def resolve_limits(root: CallersTenant, info: graphene.ResolveInfo) -> Any:
        return limits.of_caller(info)

    @staticmethod
    def resolve_usage(root: CallersTenant, info: graphene.ResolveInfo, **arguments: Any) -> Any:
        return usage.report(info.context, **arguments)


class MeFields:
    """Fields of the type ``Me``."""

    plan = graphene.String(description="The name of the tenant's plan.")
    limits = limits.limits_field()

    @staticmethod
    def resolve_plan(root: Caller, info: graphene.ResolveInfo) -> str | None:
        return contracts.contract_of(root).plan_name or None

    @staticmethod
    def resolve_limits(root: Caller, info: graphene.ResolveInfo) -> Any:
        return limits.of_caller(info)
