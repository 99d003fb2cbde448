"""``GET /v2/usage``: the tenant's own sums, as JSON and CSV."""

import csv
import datetime as dt
import io

import pytest

from billing.metering.ledger import store
from billing.models import UsageRecord
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys
from tests.conftest import Customer
from tests.support.rest import Api, assert_limit_headers, assert_problem

DAY = dt.date(2026, 3, 10)


def use(
    customer: Customer,
    day: dt.date,
    *,
    units: int,
    model: str = "sentiment",
    key_uid: str = "",
    cached: bool = False,
    saved: int = 0,
) -> None:
    moment = dt.datetime.combine(day, dt.time(12), dt.UTC)
    store(
        [
            UsageRecord(
                id=f"{customer.tenant.slug}-{UsageRecord.objects.count()}",
                tenant=customer.tenant,
                key_uid=key_uid or customer.key.uid,
                occurred_at=moment,
                request_id="r",
                operation="predict",
                model=model,
                model_version="1.0.0",
                api_version="v2",
                inputs=1,
                cached=cached,
                units=units,
                saved_units=saved,
            )
        ]
    )


@pytest.fixture
def used(acme: Customer, globex: Customer) -> str:
    """Two days of acme's with two keys and two models, and globex's own; gives the second key."""
    second = api_keys.issue(tenant=acme.tenant, name="Second").key.uid
    use(acme, DAY, units=10)
    use(acme, DAY, units=1, cached=True, saved=9)
    use(acme, DAY + dt.timedelta(days=1), units=5, model="minilm", key_uid=second)
    use(globex, DAY, units=700)
    return second


PERIOD = "from=2026-03-01&to=2026-03-31"


def test_by_day(acme: Customer, used: str) -> None:
    answer = Api(acme).get(f"/v2/usage?{PERIOD}")
    assert answer.body == {
        "from": "2026-03-01",
        "to": "2026-03-31",
        "by": "day",
        "lines": [
            {"day": "2026-03-10", "calls": 2, "inputs": 2, "cached_inputs": 1, "units": 11}
            | {"saved_units": 9, "cache_hit_ratio": 0.5},
            {"day": "2026-03-11", "calls": 1, "inputs": 1, "cached_inputs": 0, "units": 5}
            | {"saved_units": 0, "cache_hit_ratio": 0.0},
        ],
        "total": {"calls": 3, "inputs": 3, "cached_inputs": 1, "units": 16}
        | {"saved_units": 9, "cache_hit_ratio": 0.3333},
    }
    assert_limit_headers(answer)


def test_by_model_and_by_key(acme: Customer, used: str) -> None:
    api = Api(acme)
    by_model = {line["model"]: line["units"] for line in api.get(f"/v2/usage?{PERIOD}&by=model").body["lines"]}
    by_key = {line["key"]: line["units"] for line in api.get(f"/v2/usage?{PERIOD}&by=key").body["lines"]}
    assert by_model == {"minilm": 5, "sentiment": 11}
    assert by_key == {acme.key.uid: 11, used: 5}


@pytest.mark.parametrize(("by", "value"), [("api_version", "v2"), ("operation", "predict")])
def test_by_api_version_and_by_operation(acme: Customer, used: str, by: str, value: str) -> None:
    (line,) = Api(acme).get(f"/v2/usage?{PERIOD}&by={by}").body["lines"]
    assert (line[by], line["units"]) == (value, 16)


def test_as_csv(acme: Customer, used: str) -> None:
    answer = Api(acme).get(f"/v2/usage?{PERIOD}&by=model&format=csv")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "usage-by-model.csv" in answer.headers["Content-Disposition"]
    assert list(csv.reader(io.StringIO(answer.content.decode()))) == [
        ["model", "calls", "inputs", "cached_inputs", "units", "saved_units"],
        ["minilm", "1", "1", "0", "5", "0"],
        ["sentiment", "2", "2", "1", "11", "9"],
    ]
    assert answer.headers["API-Version"] == "v2"
    assert_limit_headers(answer)


def test_without_inputs_there_is_no_hit_ratio(acme: Customer) -> None:
    body = Api(acme).get(f"/v2/usage?{PERIOD}").body
    assert (body["lines"], body["total"]["cache_hit_ratio"], body["total"]["saved_units"]) == ([], None, 0)


def test_csv_has_no_formulas(acme: Customer) -> None:
    use(acme, DAY, units=1, model="=1+1")
    answer = Api(acme).get(f"/v2/usage?{PERIOD}&by=model&format=csv")
    assert answer.content.decode().splitlines()[1].startswith("'=1+1,")


def test_by_default_the_last_thirty_days(acme: Customer) -> None:
    today = clock.now().date()
    use(acme, today, units=3)
    use(acme, today - dt.timedelta(days=29), units=4)
    use(acme, today - dt.timedelta(days=30), units=5)
    body = Api(acme).get("/v2/usage").body
    assert body["total"]["units"] == 7
    assert dt.date.fromisoformat(body["to"]) - dt.date.fromisoformat(body["from"]) == dt.timedelta(days=29)


def test_no_usage_is_an_empty_report(globex: Customer) -> None:
    body = Api(globex).get("/v2/usage").body
    assert (body["lines"], body["total"]["units"]) == ([], 0)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=yesterday", "from"),
        ("to=2026-13-01", "to"),
        ("to=2026-02-30", "to"),
        ("from=2026-03-02&to=2026-03-01", "from"),
        ("from=2025-01-01&to=2026-12-31", "from"),
        ("from=0001-01-01&to=9999-12-31", "from"),
        ("from=%00", "from"),
        ("from=", "from"),
        ("from=2026-03-01&to=", "to"),
        ("by=weather", "by"),
        ("by=", "by"),
        ("format=xml", "format"),
    ],
)
def test_a_query_that_cannot_be_answered(acme: Customer, query: str, field: str) -> None:
    assert_problem(Api(acme).get(f"/v2/usage?{query}"), ErrorKind.INVALID_INPUT, field=field)


@pytest.mark.parametrize("query", ["to=0001-01-01", "from=9999-12-31&to=9999-12-31"])
def test_the_ends_of_the_calendar(acme: Customer, query: str) -> None:
    assert Api(acme).get(f"/v2/usage?{query}").status == 200
