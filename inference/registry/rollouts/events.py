"""Events of model versions: to whom they concern, in the transaction of what they tell.

A private model's owner hears of every step. Of a model on sale, the operators' own tenants hear of every step, and the
customers that used it in the last 30 days of those that change their answers.
"""

from collections.abc import Collection
from typing import Any, Final

from billing.metering import version_use
from inference.models import ModelVersion
from tenants import events
from tenants.models import Tenant, TenantStatus

PREFIX: Final = "model.version."
FOR_CUSTOMERS: Final = frozenset(
    {
        "promoted",
        "rolled_back",
        "retired",
        "canary_started",
        "canary_changed",
        "canary_stopped",
        "canary_failed",
    }
)
"""Steps after which a call may be answered by another version than before."""


def tell(version: ModelVersion, step: str, *, only: Collection[int] | None = None, **data: Any) -> int:
    """Record ``model.version.<step>`` for each tenant concerned, and give their number.

    ``only`` narrows customers to these tenants, such as those that a canary takes.
    """
    model = version.model
    body = {"model": model.name, "version": version.version, "private": model.owner_id is not None, **data}
    return len(events.record_all(tenant_ids=_concerned(version, step, only), type=f"{PREFIX}{step}", data=body))


def _concerned(version: ModelVersion, step: str, only: Collection[int] | None) -> list[int]:
    if version.model.owner_id is not None:
        return [version.model.owner_id]
    operators = set(Tenant.objects.filter(operator=True, status=TenantStatus.ACTIVE).values_list("pk", flat=True))
    customers: set[int] = set()
    if step in FOR_CUSTOMERS:
        customers = users(version.model.qualified_name)
        if only is not None:
            customers &= set(only)
    return sorted(operators | customers)


def users(model: str) -> set[int]:
    """The tenants that called the model in the last 30 days."""
    return version_use.tenants_using_model(model)
