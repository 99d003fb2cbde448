"""What the tenant used, grouped by as much as is asked for."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import graphene

from billing.metering import rows as usage_rows
from billing.metering.reports import Grouping, Sums, hit_ratio, named
from billing.metering.rows import UsageRow
from mlplatform.lib import clock
from mlplatform.lib.graphql_cost import cost
from tenants.graphql.call import GraphQLCall

_DEFAULT_DAYS: Final = 30
_POINTS: Final = 10


class UsageDimension(graphene.Enum):
    """What usage is grouped by."""

    DAY = "day"
    MODEL = "model"
    KEY = "key"
    API_VERSION = "api_version"
    OPERATION = "operation"


@dataclass(frozen=True, slots=True)
class Report:
    """Usage of a period; see :func:`billing.metering.rows.read`."""

    from_: dt.date
    to: dt.date
    rows: Sequence[UsageRow]


class UsageNumbers:
    """What every sum of usage has."""

    calls = graphene.BigInt(
        required=True,
        description="Each call once, however many inputs and models it had. In rows by model: the calls that named it.",
    )
    inputs = graphene.BigInt(required=True, description="Inputs that were answered.")
    cached_inputs = graphene.BigInt(required=True, description="Inputs that a cache answered.")
    units = graphene.BigInt(required=True)
    saved_units = graphene.BigInt(
        required=True, description="What cached answers would have cost more, had they been computed."
    )
    cache_hit_ratio = graphene.Float(description="Cached inputs of all inputs, 0 to 1; null without inputs.")

    @staticmethod
    def resolve_inputs(root: UsageRow | Sums, info: graphene.ResolveInfo) -> int:
        return _sums(root).inputs

    @staticmethod
    def resolve_cached_inputs(root: UsageRow | Sums, info: graphene.ResolveInfo) -> int:
        return _sums(root).cached_inputs

    @staticmethod
    def resolve_units(root: UsageRow | Sums, info: graphene.ResolveInfo) -> int:
        return _sums(root).units

    @staticmethod
    def resolve_saved_units(root: UsageRow | Sums, info: graphene.ResolveInfo) -> int:
        return _sums(root).saved_units

    @staticmethod
    def resolve_cache_hit_ratio(root: UsageRow | Sums, info: graphene.ResolveInfo) -> float | None:
        return hit_ratio(_sums(root).inputs, _sums(root).cached_inputs)


def _sums(of: UsageRow | Sums) -> Sums:
    return of if isinstance(of, Sums) else of.sums


class UsageLine(UsageNumbers, graphene.ObjectType):
    """A sum over everything that is alike in what the rows are grouped by; the other dimensions are null."""

    class Meta:
        name = "UsageRow"
        possible_types = (UsageRow,)

    day = graphene.Date(description="UTC.")
    model = graphene.String(description="Empty for what belongs to no model, such as the fee of a batch.")
    what = graphene.String(description="The model, or `(call fee)` where it is empty.")
    key = graphene.String(description="The key's public id.")
    api_version = graphene.String(description="Of REST, or the name of the protocol, such as `graphql`.")
    operation = graphene.String()

    @staticmethod
    def resolve_what(root: UsageRow, info: graphene.ResolveInfo) -> str | None:
        return None if root.model is None else named(root.model)


class UsageTotal(UsageNumbers, graphene.ObjectType):
    """The sum of all rows; each call once, also where rows are by model."""

    class Meta:
        possible_types = (Sums,)


class Usage(graphene.ObjectType):
    """What the tenant used in a period; a few seconds behind."""

    class Meta:
        possible_types = (Report,)

    from_ = graphene.Date(name="from", required=True)
    to = graphene.Date(required=True)
    # Free as points, but each row is work: many full reports at once are more fields than an answer may have.
    rows = cost(graphene.List(graphene.NonNull(UsageLine), required=True), complexity=0, assumed=usage_rows.MAX_ROWS)
    total = cost(graphene.Field(UsageTotal, required=True), complexity=0)

    @staticmethod
    def resolve_rows(root: Report, info: graphene.ResolveInfo) -> Sequence[UsageRow]:
        # Calls of several inputs without a fee belong to no model and have no units: nothing to tell of.
        return [row for row in root.rows if row.model != "" or row.calls or row.sums.units]

    @staticmethod
    def resolve_total(root: Report, info: graphene.ResolveInfo) -> Sums:
        return Sums.of([row.sums for row in root.rows])


def usage_field() -> Any:
    """The field ``usage``; resolved by :func:`report`."""
    return cost(
        graphene.Field(
            Usage,
            from_=graphene.Date(name="from", description="The first day (UTC); 30 days without it."),
            to=graphene.Date(description="The last day (UTC), included; today without it."),
            by=graphene.List(
                graphene.NonNull(UsageDimension), description="What the rows are grouped by; the day without it."
            ),
            description="What the tenant used, from the ledger's daily sums.",
        ),
        complexity=_POINTS,
        scope="usage:read",
    )


def report(
    call: GraphQLCall, *, from_: dt.date | None = None, to: dt.date | None = None, by: Sequence[Any] | None = None
) -> Report:
    """The tenant's usage. Raises INVALID_INPUT that names the argument."""
    last = to or clock.now().date()
    if from_ is None:
        from_ = max(last, dt.date.min + dt.timedelta(days=_DEFAULT_DAYS - 1)) - dt.timedelta(days=_DEFAULT_DAYS - 1)
    wanted: list[Grouping] = ["day"] if by is None else [getattr(one, "value", one) for one in by]
    rows = usage_rows.read(tenant_id=call.key.tenant_id, first=from_, last=last, by=wanted)
    return Report(from_, last, rows)
