"""A model goes to another owner, and so has another qualified name: what follows it, and what people have to see to."""

from typing import Final

from django.db import transaction

from billing.models import LimitRule, Price
from inference.models import CallSample, MLModel
from tenants.deprecations import catalogue
from tenants.models import DeprecationSchedule, SubjectKind

_KIND: Final = SubjectKind.MODEL_VERSION.value


@transaction.atomic
def changed(*, model: MLModel, before: str) -> list[str]:
    """To be called after the owner of a model was saved that was called ``before`` until now.

    The schedules of its versions, which are promises, and kept calls go with it. What it was metered as stays. Gives what still
    names it as before and is for people to decide: its prices and its limits.
    """
    now = model.qualified_name
    for rows, column in (
        (DeprecationSchedule.objects.filter(kind=_KIND), "subject"),
        (DeprecationSchedule.objects.filter(kind=_KIND), "successor"),
        (CallSample.objects.filter(kind=_KIND), "subject"),
    ):
        for row in rows.filter(**{f"{column}__startswith": f"{before}@"}):
            setattr(row, column, f"{now}@{getattr(row, column).partition('@')[2]}")
            row.save(update_fields=[column])
    catalogue.changed()
    return [
        *(f"the price of {price.get_operation_display().lower()}" for price in Price.objects.filter(model=before)),
        *(f"the limit {rule.name}" for rule in LimitRule.objects.filter(model=before)),
    ]
