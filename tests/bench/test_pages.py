"""The data on which pages are measured, and what is concluded from the figures."""

from typing import Any

import pytest
from django.db.models import Sum

from bench.pages import ledger, lists, world
from bench.pages.size import Size, full
from bench.scenarios import pages
from billing.models import UsageRecord, UsageRollup, VersionUse
from inference.models import EndUser, Item, Like, ModelVersion
from mlplatform.lib import clock

_TINY = Size(
    tenants=12, busy=1, usual=2, days=3, records=400, models=20, extensions=2, brownouts=2, audited=5,
    end_users=8, items=8, likes=16
)  # fmt: skip


@pytest.mark.django_db
def test_daily_sums_are_those_of_the_records() -> None:
    now = clock.now()
    made = world.make(_TINY, now=now)
    counts = ledger.make(_TINY, made, now=now)
    lists.audiences(_TINY, made, now=now)

    records = UsageRecord.objects.aggregate(units=Sum("units"), calls=Sum("requests"), saved=Sum("saved_units"))
    assert counts["usage records"] == UsageRecord.objects.count() == records["calls"] == _TINY.records
    assert UsageRollup.objects.aggregate(units=Sum("units"), calls=Sum("calls"), saved=Sum("saved_units")) == records
    assert VersionUse.objects.aggregate(units=Sum("units"))["units"] == records["units"]
    assert not UsageRecord.objects.filter(occurred_at__gt=now).exists()
    assert ModelVersion.objects.count() == 100
    assert (EndUser.objects.count(), Item.objects.count(), Like.objects.count()) == (8, 8, 16)


def test_a_whole_year_has_the_rows_of_the_issue() -> None:
    size = full()
    sums = size.days * sum(size.lines(rank) for rank in range(size.tenants))
    assert size.models * size.versions_a_model == 300
    assert 1_100_000 <= sums <= 1_200_000


def measured(**more: Any) -> dict[str, Any]:
    usual = {
        "name": "timeline", "file": False, "status": 200, "first_ms": 300.0, "median_ms": 90.0, "p95_ms": 120.0, "cpu_ms": 80.0,
        "queries": 7, "bytes": 300_000, "compressed": 20_000,
    }  # fmt: skip
    return {**usual, **more}


def missed(*found: dict[str, Any]) -> list[str]:
    return [target.claim for target in pages.conclude(found, database="SQLite").targets if not target.met]


def test_a_page_within_its_bounds_meets_every_target_and_a_download_may_be_large() -> None:
    assert missed(measured(), measured(name="CSV", file=True, bytes=5_000_000)) == []


@pytest.mark.parametrize(
    ("more", "claim"),
    [
        ({"p95_ms": 201.0}, "every page ≤ 200 ms at p95"),
        ({"queries": 16}, "every page ≤ 15 queries"),
        ({"bytes": 501_000}, "every page ≤ 500 kB"),
        ({"status": 500}, "every page answers 200"),
    ],
)
def test_each_bound_is_a_target_of_its_own(more: dict[str, Any], claim: str) -> None:
    assert missed(measured(), measured(**more)) == [claim]
