"""What staff may enter for limits and plans is exactly what admission can count."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from billing.admission.types import MAX_AMOUNT, MAX_WINDOW_S
from billing.models import Counts, LimitKind, LimitRule, LimitScope, Plan
from tests.conftest import Customer


def rule(plan: Plan, **fields: object) -> LimitRule:
    values: dict[str, object] = {"name": "own", "kind": LimitKind.TOKEN_BUCKET, "amount": 100, "rate": 1.0}
    return LimitRule(plan=plan, **(values | fields))


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"rate": 0.0}, "rate", "above 0"),
        ({"rate": float("nan")}, "rate", "above 0"),
        ({"rate": 1e-12, "amount": MAX_AMOUNT}, "rate", "too slow"),
        ({"kind": LimitKind.FIXED_WINDOW}, "window_s", "1 to"),
        ({"kind": LimitKind.SLIDING_WINDOW, "window_s": MAX_WINDOW_S + 1}, "window_s", "1 to"),
        ({"kind": LimitKind.CONCURRENCY, "counts": Counts.UNITS}, "counts", "requests"),
        ({"scope": LimitScope.MODEL}, "model", "Name the model"),
        ({"model": "sentiment"}, "model", "Name the model"),
        ({"amount": 0}, "amount", "greater than or equal to 1"),
        ({"amount": MAX_AMOUNT + 1}, "amount", "less than or equal to"),
    ],
)
def test_a_limit_that_cannot_be_counted_names_its_field(
    acme: Customer, fields: dict[str, object], field: str, reason: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        rule(acme.plan, **fields).full_clean()
    assert reason in str(refused.value.message_dict[field])


def test_the_largest_limits_are_accepted_and_counted(acme: Customer) -> None:
    rule(acme.plan, amount=MAX_AMOUNT, rate=1000.0).full_clean()
    rule(acme.plan, kind=LimitKind.FIXED_WINDOW, window_s=MAX_WINDOW_S).full_clean()


def test_a_plan_includes_no_more_than_can_be_counted(acme: Customer) -> None:
    acme.plan.included_units = MAX_AMOUNT + 1
    with pytest.raises(ValidationError) as refused:
        acme.plan.full_clean()
    assert "included_units" in refused.value.message_dict
    with pytest.raises(IntegrityError), transaction.atomic():
        acme.plan.save()
    assert Plan.objects.get(pk=acme.plan.pk).included_units == 1_000_000
