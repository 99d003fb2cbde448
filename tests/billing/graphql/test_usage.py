"""``tenant { usage plan limits }``: the sums of the ledger, grouped by several things at once, and the state of the limits."""

import datetime as dt
from collections.abc import Mapping, Sequence

import pytest
from pytest_django import DjangoAssertNumQueries

from billing.admission import LimitState
from billing.graphql import limits
from billing.metering import rows as usage_rows
from billing.metering.ledger import store
from billing.models import LimitRule, Plan, Price, Subscription, UsageRecord
from mlplatform.lib import clock
from tenants import api_keys
from tests.conftest import Customer
from tests.support import ledger
from tests.support.graphql_schema import ask, refused, told
from tests.support.rest import Api

DAY = dt.date(2026, 3, 10)
NEXT = DAY + dt.timedelta(days=1)
PERIOD = 'from: "2026-03-01", to: "2026-03-31"'


def use(customer: Customer, day: dt.date, *, units: int, cached: bool = False, saved: int = 0, **fields: str) -> None:
    moment = dt.datetime.combine(day, dt.time(12), dt.UTC)
    values = {
        "key_uid": customer.key.uid,
        "request_id": "r",
        "operation": "predict",
        "model": "sentiment",
        "model_version": "1.0.0",
        "api_version": "v2",
        **fields,
    }
    number = UsageRecord.objects.count()
    store(
        [
            UsageRecord(
                id=f"{customer.tenant.slug}-{number}",
                tenant=customer.tenant,
                occurred_at=moment,
                inputs=1,
                cached=cached,
                units=units,
                saved_units=saved,
                **values,
            )
        ]
    )


@pytest.fixture
def used(acme: Customer, globex: Customer) -> str:
    """Two days of acme's with two keys and two models, and globex's own; gives the second key."""
    second = api_keys.issue(tenant=acme.tenant, name="Second").key.uid
    use(acme, DAY, units=10)
    use(acme, DAY, units=1, cached=True, saved=9, api_version="graphql")
    use(acme, NEXT, units=5, model="minilm", key_uid=second, operation="batch")
    use(acme, NEXT, units=50, model="", key_uid=second, operation="batch")
    use(globex, DAY, units=700)
    return second


def test_by_day_and_model(acme: Customer, used: str) -> None:
    data = told(
        acme,
        f"""{{ tenant {{ usage({PERIOD}, by: [DAY, MODEL]) {{ from to
            rows {{ day model key apiVersion operation calls inputs cachedInputs units savedUnits cacheHitRatio }}
            total {{ calls inputs cachedInputs units savedUnits cacheHitRatio }} }} }} }}""",
    )
    nothing = {"key": None, "apiVersion": None, "operation": None}
    one = {"calls": 1, "inputs": 1, "cachedInputs": 0, "savedUnits": 0, "cacheHitRatio": 0.0} | nothing
    assert data["tenant"]["usage"] == {
        "from": "2026-03-01",
        "to": "2026-03-31",
        "rows": [
            {"day": "2026-03-10", "model": "sentiment", "calls": 2, "inputs": 2, "cachedInputs": 1, "units": 11}
            | {"savedUnits": 9, "cacheHitRatio": 0.5}
            | nothing,
            one | {"day": "2026-03-11", "model": "", "units": 50},
            one | {"day": "2026-03-11", "model": "minilm", "units": 5},
        ],
        "total": {"calls": 4, "inputs": 4, "cachedInputs": 1, "units": 66, "savedUnits": 9, "cacheHitRatio": 0.25},
    }


@pytest.mark.parametrize(
    ("by", "name", "expected"),
    [
        ("DAY", "day", {"2026-03-10": 11, "2026-03-11": 55}),
        ("MODEL", "model", {"": 50, "minilm": 5, "sentiment": 11}),
        ("API_VERSION", "apiVersion", {"graphql": 1, "v2": 65}),
        ("OPERATION", "operation", {"batch": 55, "predict": 11}),
    ],
)
def test_by_one_thing_as_rest_has_it(acme: Customer, used: str, by: str, name: str, expected: dict[str, int]) -> None:
    rows = told(acme, f"{{ tenant {{ usage({PERIOD}, by: [{by}]) {{ rows {{ {name} units calls }} }} }} }}")
    found = {row[name]: row["units"] for row in rows["tenant"]["usage"]["rows"]}
    assert found == expected
    lines = Api(acme).get(f"/v2/usage?from=2026-03-01&to=2026-03-31&by={by.lower()}").body["lines"]
    assert {line[by.lower()]: line["units"] for line in lines} == found


def test_by_key(acme: Customer, used: str) -> None:
    rows = told(acme, f"{{ tenant {{ usage({PERIOD}, by: [KEY]) {{ rows {{ key units }} }} }} }}")["tenant"]["usage"]
    assert {row["key"]: row["units"] for row in rows["rows"]} == {acme.key.uid: 11, used: 55}


def test_the_whole_is_one_row(acme: Customer, used: str) -> None:
    query = f"{{ tenant {{ usage({PERIOD}, by: []) {{ rows {{ day model units }} total {{ units }} }} }} }}"
    assert told(acme, query)["tenant"]["usage"] == {
        "rows": [{"day": None, "model": None, "units": 66}],
        "total": {"units": 66},
    }


def test_without_arguments_it_is_the_last_thirty_days_by_day(acme: Customer) -> None:
    today = clock.now().date()
    for ago in (0, 29, 30):
        use(acme, today - dt.timedelta(days=ago), units=1)
    usage = told(acme, "{ tenant { usage { from to rows { day units } } } }")["tenant"]["usage"]
    first = today - dt.timedelta(days=29)
    assert usage == {
        "from": first.isoformat(),
        "to": today.isoformat(),
        "rows": [{"day": first.isoformat(), "units": 1}, {"day": today.isoformat(), "units": 1}],
    }


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ('from: "2026-03-02", to: "2026-03-01"', "from"),
        ('from: "2025-01-01", to: "2026-12-31"', "from"),
        ('from: "0001-01-01", to: "9999-12-31"', "from"),
    ],
)
def test_what_is_refused(acme: Customer, arguments: str, field: str) -> None:
    answer = ask(acme, f"{{ tenant {{ usage({arguments}) {{ to }} }} }}")
    assert answer.data == {"tenant": {"usage": None}}
    refused(answer, "INVALID_INPUT", "tenant", "usage", field=field)


@pytest.mark.parametrize("arguments", ['to: "0001-01-01"', 'from: "9999-12-31", to: "9999-12-31"'])
def test_the_ends_of_the_calendar(acme: Customer, arguments: str) -> None:
    assert told(acme, f"{{ tenant {{ usage({arguments}) {{ rows {{ units }} }} }} }}")["tenant"]["usage"] == {
        "rows": []
    }


def test_more_rows_than_a_report_has(acme: Customer, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_rows, "MAX_ROWS", 2)
    assert told(acme, f"{{ tenant {{ usage({PERIOD}, by: [DAY]) {{ rows {{ units }} }} }} }}")
    answer = ask(acme, f"{{ tenant {{ usage({PERIOD}, by: [DAY, MODEL]) {{ rows {{ units }} }} }} }}")
    refused(answer, "INVALID_INPUT", "tenant", "usage", field="by")


def test_many_full_reports_at_once_are_more_than_an_answer_has(acme: Customer, used: str) -> None:
    report = f"usage({PERIOD}, by: [DAY, MODEL, KEY]) {{ rows {{ day model key calls inputs units }} }}"
    assert told(acme, f"{{ tenant {{ a: {report} b: {report} c: {report} }} }}")
    before = ledger.units(acme.tenant)
    answer = ask(acme, f"{{ tenant {{ {' '.join(f'a{number}: {report}' for number in range(8))} }} }}")
    assert [error["extensions"]["code"] for error in answer.errors] == ["COST_TOO_HIGH"]
    assert ledger.units(acme.tenant) == before


def test_one_query_however_many_rows(
    acme: Customer, used: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    query = f"{{ tenant {{ usage({PERIOD}, by: [DAY, MODEL]) {{ rows {{ units }} total {{ units }} }} }} }}"
    told(acme, query)
    with django_assert_num_queries(1):
        told(acme, query)
    for number in range(40):
        use(acme, DAY, units=1, model=f"model{number}")
    with django_assert_num_queries(1):
        assert len(told(acme, query)["tenant"]["usage"]["rows"]) == 43


def test_nothing_of_another_tenant(acme: Customer, globex: Customer, used: str) -> None:
    query = f"{{ tenant {{ usage({PERIOD}, by: [DAY, KEY]) {{ total {{ units }} rows {{ key }} }} }} }}"
    assert told(globex, query)["tenant"]["usage"] == {"total": {"units": 700}, "rows": [{"key": globex.key.uid}]}
    ledger.assert_untouched(acme)


def test_the_plan(acme: Customer, globex: Customer) -> None:
    Plan.objects.filter(pk=acme.plan.pk).update(monthly_fee="99.50", overage_price="0.00012500", description="For all")
    query = "{ tenant { plan { name description currency monthlyFee includedUnits overagePrice } } }"
    assert told(acme, query)["tenant"]["plan"] == {
        "name": "Plan of acme",
        "description": "For all",
        "currency": "EUR",
        "monthlyFee": "99.50",
        "includedUnits": 1_000_000,
        "overagePrice": "0.00012500",
    }
    assert told(globex, query)["tenant"]["plan"]["name"] == "Plan of globex"


def test_a_tenant_without_a_plan(acme: Customer) -> None:
    # Without one nothing that costs is let through, so queries must be free to get an answer.
    Price.objects.create(operation="graphql", per_input=0)
    Subscription.objects.all().delete()
    assert told(acme, "{ me { plan } tenant { plan { name } } }") == {"me": {"plan": None}, "tenant": {"plan": None}}


def test_limits_are_asked_once_and_say_what_rest_says(acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    LimitRule.objects.update(rate=0.01)  # At 100 a second, what the query holds would be back before it is looked at.
    asked = []
    fetch = limits.LimitsLoader.fetch

    def counted(loader: limits.LimitsLoader, keys: Sequence[str]) -> Mapping[str, Sequence[LimitState]]:
        asked.append(keys)
        return fetch(loader, keys)

    monkeypatch.setattr(limits.LimitsLoader, "fetch", counted)
    fields = "name kind counts scope model amount windowSeconds refillPerSecond setBy remaining resetSeconds"
    data = told(acme, f"{{ me {{ limits {{ {fields} }} }} tenant {{ limits {{ {fields} }} }} }}")
    assert data["me"]["limits"] == data["tenant"]["limits"]
    assert len(asked) == 1
    monkeypatch.undo()
    for shown, rest in zip(data["me"]["limits"], Api(acme).get("/v2/limits").body["limits"], strict=True):
        assert {
            "name": shown["name"],
            "kind": shown["kind"].lower(),
            "counts": shown["counts"].lower(),
            "scope": shown["scope"].lower(),
            "model": shown["model"],
            "amount": shown["amount"],
            "window_s": shown["windowSeconds"],
            "refill_per_s": shown["refillPerSecond"],
            "set_by": shown["setBy"],
        } == {name: rest[name] for name in rest if name not in {"remaining", "whole_again_in_s"}}
        # What the query itself may cost is held meanwhile.
        assert shown["amount"] - 100 <= shown["remaining"] < shown["amount"]
        assert shown["resetSeconds"] > 0
