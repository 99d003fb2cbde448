"""The headers of ending versions, read by libraries that are not ours, on good answers and on every kind of refusal."""

import datetime as dt
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

import http_sf
import pytest
from requests.utils import parse_header_links

from inference.engine import predict as prediction
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys
from tenants.deprecations import catalogue, schedules
from tenants.models import DeprecationSchedule
from tests.conftest import Customer
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.live_worker import LiveWorker, demo_models, live_worker
from tests.support.rest import Answer, Api, assert_problem, both_ways
from tests.support.walked_clock import published_at_once

__all__ = ["both_ways", "demo_models", "live_worker", "published_at_once"]

pytestmark = pytest.mark.usefixtures("both_ways", "published_at_once", "prices")

TEXT = "What a wonderful morning!"
PINNED = "sentiment@1.0.0"
NAMES = ("Deprecation", "Sunset", "Link", "X-API-Deprecated", "X-API-Sunset-Date")
Call = Callable[..., Answer]


def assert_tells(answer: Answer, *rows: DeprecationSchedule) -> None:
    """Each header parses, and together they tell of these schedules and of no other."""
    first = min(rows, key=lambda row: row.sunset_at)
    parsed: Any = http_sf.parse(answer.headers["Deprecation"].encode(), tltype="item")
    since, parameters = parsed
    assert isinstance(since, dt.datetime)
    assert (since, parameters) == (min(row.deprecate_at for row in rows), {})
    assert parsedate_to_datetime(answer.headers["Sunset"]) == first.sunset_at
    assert first.sunset_at >= since
    assert answer.headers["X-API-Deprecated"] == "true"
    assert answer.headers["X-API-Sunset-Date"] == first.sunset_at.date().isoformat()
    links = parse_header_links(answer.headers["Link"])
    for row in rows:
        target = row.successor.rpartition("@")[2]
        guide = f"/docs/migrate/{row.subject}-{target}"
        found = {link["rel"]: link for link in links if unquote(link["url"]).endswith(guide)}
        assert set(found) == {"deprecation", "sunset"}
        assert {link["type"] for link in found.values()} == {"text/html"}
    successors = {unquote(link["url"]) for link in links if link["rel"] == "successor-version"}
    assert {place.partition("//")[2].partition("/")[2] for place in successors} == {
        "v2/predict" if row.kind == "api_version" else f"v2/models/{row.successor}/predict" for row in rows
    }
    assert len(links) == 3 * len(rows)


def assert_tells_nothing(answer: Answer) -> None:
    assert not set(NAMES) & set(answer.headers)


@pytest.fixture(params=["API version", "model version", "both"])
def rows(request: pytest.FixtureRequest, acme: Customer) -> list[DeprecationSchedule]:
    """What ends: v1, sentiment@1.0.0, or both, on other days."""
    makers = {
        "API version": lambda: [make_schedule()],
        "model version": lambda: [make_schedule("model_version", PINNED, "sentiment@2.0.0", sunset_in_days=240)],
    }
    if request.param == "both":
        model = make_schedule("model_version", PINNED, "sentiment@2.0.0", deprecated_days_ago=20, sunset_in_days=240)
        return [make_schedule(), model]
    return makers[request.param]()


@pytest.fixture
def call(acme: Customer, rows: list[DeprecationSchedule], live_worker: LiveWorker) -> Call:
    """A call that uses exactly what ends."""
    kinds = {row.kind for row in rows}
    address = "/v1/predict" if "api_version" in kinds else "/v2/predict"
    model = PINNED if "model_version" in kinds else "sentiment"

    def make(text: str = TEXT, **headers: str) -> Answer:
        return Api(acme).post(address, {"model": model, "input": text}, headers=headers)

    return make


def end(row: DeprecationSchedule) -> None:
    """Its sunset was a minute ago."""
    DeprecationSchedule.objects.filter(pk=row.pk).update(
        sunset_at=clock.now().replace(microsecond=0) - dt.timedelta(minutes=1)
    )
    row.refresh_from_db()
    catalogue.forget()


def test_a_good_answer(call: Call, rows: list[DeprecationSchedule]) -> None:
    answer = call()
    assert answer.status == 200
    assert_tells(answer, *rows)
    assert_tells(call(), *rows)


def test_gone(acme: Customer, call: Call, rows: list[DeprecationSchedule]) -> None:
    end(rows[0])
    answer = call()
    assert_problem(answer, ErrorKind.GONE, rows[0].successor)
    assert (answer.body["successor"], answer.body["sunset"]) == (rows[0].successor, rows[0].sunset_at.isoformat())
    # An API version that ended is refused before it is looked which model the call names.
    assert_tells(answer, rows[0])
    ledger.assert_untouched(acme)


def test_a_model_that_is_gone_in_an_api_version_that_ends(
    acme: Customer, call: Call, rows: list[DeprecationSchedule]
) -> None:
    end(rows[-1])
    assert_problem(answer := call(), ErrorKind.GONE, rows[-1].successor)
    assert_tells(answer, *rows)


def test_a_brownout(acme: Customer, call: Call, rows: list[DeprecationSchedule]) -> None:
    schedules.rehearse_brownout(schedule_id=rows[-1].pk, tenant=acme.tenant, minutes=5, share=100)
    answer = call()
    assert_problem(answer, ErrorKind.BROWNOUT)
    assert answer.body["type"] == "/docs/problems#brownout"
    assert_tells(answer, *rows)
    ledger.assert_untouched(acme)


def test_invalid_input(acme: Customer, call: Call, rows: list[DeprecationSchedule]) -> None:
    answer = call(" ")
    assert_problem(answer, ErrorKind.INVALID_INPUT, field="input")
    assert_tells(answer, *rows)
    ledger.assert_untouched(acme)


def test_a_limit(acme: Customer, call: Call, rows: list[DeprecationSchedule]) -> None:
    acme.plan.limits.update(amount=1, rate=0.0001)
    assert call().status == 200
    answer = call("Another text.")
    assert_problem(answer, ErrorKind.QUOTA_EXCEEDED)
    assert_tells(answer, *rows)


def test_a_mistake_of_ours(call: Call, rows: list[DeprecationSchedule], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **fields: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(prediction, "predict", broken)
    answer = call()
    assert_problem(answer, ErrorKind.INTERNAL)
    assert_tells(answer, *rows)


def test_a_body_that_cannot_be_read(acme: Customer, demo_models: None) -> None:
    row = make_schedule()
    answer = Api(acme).post("/v1/predict", b"{")
    assert_problem(answer, ErrorKind.MALFORMED)
    assert_tells(answer, row)


def test_a_key_without_the_scope_is_a_caller_all_the_same(acme: Customer, demo_models: None) -> None:
    row = make_schedule()
    narrow = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["usage:read"])
    answer = Api(secret=narrow.secret).post("/v1/predict", {"model": "sentiment", "input": TEXT})
    assert_problem(answer, ErrorKind.FORBIDDEN)
    assert_tells(answer, row)


def test_a_batch_with_one_request_of_an_ended_model_version(acme: Customer, live_worker: LiveWorker) -> None:
    row = make_schedule("model_version", PINNED, "sentiment@2.0.0")
    requests = [{"model": "sentiment", "input": TEXT}, {"model": PINNED, "input": TEXT}]
    assert_tells(Api(acme).post("/v2/batch-predict", {"requests": requests}), row)
    end(row)
    answer = Api(acme).post("/v2/batch-predict", {"requests": requests})
    assert [item.get("status", 200) for item in answer.body["responses"]] == [200, 410]
    assert answer.headers["X-API-Deprecated"] == "true"
    assert_tells(answer, row)


def test_who_is_no_caller_is_told_nothing(
    acme: Customer, call: Call, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    assert_tells_nothing(Api(secret="mlp_live_wrong").post("/v1/predict", {"model": PINNED, "input": TEXT}))
    assert call().status == 200
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        api_keys.revoke(key=acme.key)
    answer = call()
    assert_problem(answer, ErrorKind.UNAUTHENTICATED, "revoked")
    assert_tells_nothing(answer)
    broken = call(" ")
    assert_problem(broken, ErrorKind.UNAUTHENTICATED)
    assert_tells_nothing(broken)


def test_what_does_not_end_says_nothing(
    acme: Customer, rows: list[DeprecationSchedule], live_worker: LiveWorker
) -> None:
    assert_tells_nothing(Api(acme).post("/v2/predict", {"model": "sentiment@2.0.0", "input": TEXT}))
    assert_tells_nothing(Api(acme).post("/v2/predict", {"model": "sentiment", "input": " "}))
    if rows[0].kind == "api_version":
        assert_tells_nothing(Api(acme).post("/v1.1/predict", {"model": "sentiment", "input": TEXT}))
