"""The state of the caller's limits, asked of admission once an operation."""

from collections.abc import Mapping, Sequence
from typing import Any

import graphene

from billing import admission, charging
from billing.admission import LimitState
from billing.contracts import contract_of
from mlplatform.lib.deferred import Loader
from mlplatform.lib.graphql_cost import cost

LimitKind = graphene.Enum.from_enum(admission.LimitKind, name="LimitKind", description=lambda value: None)


class Counted(graphene.Enum):
    """What a limit counts."""

    UNITS = "units"
    REQUESTS = "requests"


class LimitScope(graphene.Enum):
    """Whose calls a limit counts."""

    TENANT = "tenant"
    KEY = "key"
    MODEL = "model"


class Limit(graphene.ObjectType):
    """One rule that the caller's calls must pass, and where it stands."""

    class Meta:
        possible_types = (LimitState,)

    name = graphene.String(required=True)
    kind = graphene.Field(LimitKind, required=True)
    counts = graphene.Field(Counted, required=True)
    scope = graphene.Field(LimitScope, required=True)
    model = graphene.String(description="The one model that it counts.")
    amount = graphene.BigInt(
        required=True, description="The capacity of a bucket, the quota of a window or month, or calls at a time."
    )
    window_seconds = graphene.Int(description="The length of a window.")
    refill_per_second = graphene.Float(description="Of a token bucket.")
    set_by = graphene.String(required=True, description="Such as the plan.")
    remaining = graphene.BigInt(required=True)
    reset_seconds = graphene.Float(required=True, description="Until it is whole again, if nothing more is taken.")

    @staticmethod
    def resolve_name(root: LimitState, info: graphene.ResolveInfo) -> str:
        return root.limit.name

    @staticmethod
    def resolve_kind(root: LimitState, info: graphene.ResolveInfo) -> str:
        return root.limit.kind.value

    @staticmethod
    def resolve_counts(root: LimitState, info: graphene.ResolveInfo) -> str:
        return root.limit.counts

    @staticmethod
    def resolve_scope(root: LimitState, info: graphene.ResolveInfo) -> str:
        return root.limit.scope

    @staticmethod
    def resolve_model(root: LimitState, info: graphene.ResolveInfo) -> str | None:
        return root.limit.subject or None

    @staticmethod
    def resolve_amount(root: LimitState, info: graphene.ResolveInfo) -> int:
        return root.limit.amount

    @staticmethod
    def resolve_window_seconds(root: LimitState, info: graphene.ResolveInfo) -> int | None:
        return root.limit.window_s or None

    @staticmethod
    def resolve_refill_per_second(root: LimitState, info: graphene.ResolveInfo) -> float | None:
        return root.limit.rate or None

    @staticmethod
    def resolve_set_by(root: LimitState, info: graphene.ResolveInfo) -> str:
        return root.limit.source

    @staticmethod
    def resolve_remaining(root: LimitState, info: graphene.ResolveInfo) -> int:
        return max(0, root.remaining)

    @staticmethod
    def resolve_reset_seconds(root: LimitState, info: graphene.ResolveInfo) -> float:
        return round(root.reset_s, 3)


class LimitsLoader(Loader[str, Sequence[LimitState]]):
    """The limits of the caller's key, under the key's uid: one round trip however often they are asked for."""

    def fetch(self, keys: Sequence[str]) -> Mapping[str, Sequence[LimitState]]:
        caller = self.call.key
        contract = contract_of(caller)
        decision = charging.peek(contract=contract, limits=contract.limits)
        return {caller.key_uid: decision.states}


def limits_field() -> Any:
    """The field ``limits`` of a key or a tenant; resolved by :func:`of_caller`."""
    return cost(
        graphene.List(graphene.NonNull(Limit), description="Every limit of the key, and where it stands now."),
        scope="usage:read",
        assumed=5,
    )


def of_caller(info: graphene.ResolveInfo) -> Any:
    """The limits of the caller, later."""
    return info.context.loader(LimitsLoader).load(info.context.key.key_uid)
