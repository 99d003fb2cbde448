"""What private models were metered as before their names had a namespace: renamed in batches, and back."""

import datetime as dt
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from billing.models import LimitRule, Price, UsageRecord, UsageRollup, VersionUse
from inference.models import CallSample, MLModel, ModelVersion
from mlplatform.lib import clock
from tenants.models import DeprecationSchedule
from tests.conftest import Customer
from tests.support.ending import make_schedule
from tests.support.tiny_model import make_version

pytestmark = pytest.mark.django_db(transaction=True)

UNIQUE_FOR_ALL: Final = "0006_isolation"
PLAIN: Final = "0008_ready_since"
TODAY: Final = dt.date(2026, 11, 28)


def migrate(*, to: str = "") -> None:
    """The app's tables to this migration, or to the last one."""
    executor = MigrationExecutor(connection)
    executor.migrate([("inference", to)] if to else executor.loader.graph.leaf_nodes())


@pytest.fixture
def last(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Batches are of two rows; the tables come back to the last migration, whatever a test did."""
    monkeypatch.setattr(import_module("inference.migrations.0009_meters_of_private_models"), "BATCH", 2)
    yield
    MLModel.objects.filter(owner__isnull=True).delete()
    migrate()


def recorded(customer: Customer, count: int) -> None:
    for number in range(count):
        UsageRecord.objects.create(
            id=f"u-{customer.tenant.slug}-{number}", tenant=customer.tenant, key_uid="k", occurred_at=clock.now(),
            request_id="r", operation="predict", model="reviews", model_version="1.0.0", api_version="v2", units=1,
        )  # fmt: skip


def summed(customer: Customer, model: str, *, calls: int = 2) -> None:
    common: dict[str, Any] = {"day": TODAY, "tenant": customer.tenant, "key_uid": "k", "model": model, "calls": calls}
    UsageRollup.objects.create(**common, operation="predict", units=10 * calls)
    VersionUse.objects.create(**common, model_version="1.0.0", last_call_at=clock.now() - dt.timedelta(hours=calls))


def names(rows: Any, column: str = "model") -> list[str]:
    return sorted(filter(None, rows.objects.order_by().values_list(column, flat=True)))


def test_meters_get_the_tenants_name_and_lose_it_again(acme: Customer, globex: Customer, last: None) -> None:
    MLModel.objects.create(name="reviews", owner=acme.tenant)
    recorded(acme, 5)
    recorded(globex, 1)
    summed(acme, "reviews")
    Price.objects.create(operation="predict", model="reviews", per_input=7)
    LimitRule.objects.create(
        tenant=acme.tenant, name="few", kind="fixed_window", scope="model", model="reviews", amount=1, window_s=60
    )
    make_schedule("model_version", "reviews@0.9.0", "reviews@1.0.0")
    make_schedule("model_version", "reviews-de@0.9.0", "reviews-de@1.0.0")
    CallSample.objects.create(
        tenant=acme.tenant, kind="model_version", subject="reviews@0.9.0", api_version="v2", model="reviews@0.9.0",
        key_uid="k", body={}, answer={}, called_at=clock.now(),
    )  # fmt: skip
    migrate(to=UNIQUE_FOR_ALL)
    migrate()
    assert names(UsageRecord) == ["acme/reviews"] * 5 + ["reviews"], "of another tenant it is no name of this model"
    assert [names(rows) for rows in (UsageRollup, VersionUse, LimitRule)] == [["acme/reviews"]] * 3
    assert Price.objects.get(per_input=7).model == "acme/reviews"
    assert names(DeprecationSchedule, "subject") == ["acme/reviews@0.9.0", "reviews-de@0.9.0"]
    assert names(DeprecationSchedule, "successor") == ["acme/reviews@1.0.0", "reviews-de@1.0.0"]
    assert (names(CallSample, "subject"), names(CallSample)) == (["acme/reviews@0.9.0"], ["reviews@0.9.0"])
    migrate(to=UNIQUE_FOR_ALL)
    assert names(UsageRecord) == ["reviews"] * 6
    assert [names(rows) for rows in (UsageRollup, VersionUse, LimitRule)] == [["reviews"]] * 3
    assert Price.objects.get(per_input=7).model == "reviews"
    assert names(DeprecationSchedule, "subject") == ["reviews-de@0.9.0", "reviews@0.9.0"]


def test_sums_under_both_names_are_added_up(acme: Customer, last: None) -> None:
    """Such as of calls that came while the product was changed, and were metered by the old name afterwards."""
    MLModel.objects.create(name="reviews", owner=acme.tenant)
    for model, calls in (("reviews", 2), ("acme/reviews", 3)):
        summed(acme, model, calls=calls)
    latest = max(VersionUse.objects.values_list("last_call_at", flat=True))
    migrate(to=PLAIN)
    migrate()
    (total,) = UsageRollup.objects.values_list("model", "calls", "units")
    (use,) = VersionUse.objects.values_list("model", "calls", "last_call_at")
    assert total == ("acme/reviews", 5, 50)
    assert use == ("acme/reviews", 5, latest)


def test_there_is_no_way_back_while_two_models_share_a_name(acme: Customer, globex: Customer, last: None) -> None:
    for owner in (acme.tenant, None):
        MLModel.objects.create(name="reviews", owner=owner)
    Price.objects.create(operation="predict", model="acme/reviews", per_input=7)
    with pytest.raises(RuntimeError, match="several are called reviews: rename"):
        migrate(to=UNIQUE_FOR_ALL)
    assert Price.objects.get(per_input=7).model == "acme/reviews"


def test_what_was_ready_before_keeps_its_name(acme: Customer, last: None) -> None:
    states = {
        "1.0.0": ("live", ""), "1.1.0": ("ready", "A worker could not load it again."), "0.9.0": ("retired", ""),
        "0.8.0": ("retired", "It has no weights."), "2.0.0": ("staged", ""),
    }  # fmt: skip
    for number, (state, error) in states.items():
        make_version("reviews", number, state, owner=acme.tenant, load_error=error)
    migrate(to="0007_namespaces")
    migrate()
    known = dict(ModelVersion.objects.values_list("version", "ready_since"))
    assert sorted(number for number, since in known.items() if since is not None) == ["0.9.0", "1.0.0", "1.1.0"]
