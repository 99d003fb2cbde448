"""A version retires: a customer's calls from the announcement to long after the sunset, on a clock that is walked."""

import datetime as dt
import json
import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import pytest

from inference.models import ModelVersion
from inference.registry import versions
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys
from tenants.deprecations import schedules
from tenants.models import DeprecationSchedule
from tests.conftest import Customer
from tests.support import guides, ledger
from tests.support.live_worker import LiveWorker
from tests.support.rest import Answer, Api, assert_limit_headers, assert_problem
from tests.support.walked_clock import Walk, published_at_once, walk

__all__ = ["published_at_once", "walk"]

pytestmark = pytest.mark.usefixtures("prices", "published_at_once")

NOW = dt.datetime(2027, 1, 4, 9, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
SENTENCE = {"model": "sentiment", "input": "What a wonderful morning!"}
HEADERS = ("Deprecation", "Sunset", "Link", "X-API-Deprecated", "X-API-Sunset-Date")
Ends = Callable[..., DeprecationSchedule]


@pytest.fixture
def ends(walk: Walk) -> Ends:
    """Schedule an end, announced now; 30 days to its deprecation, 200 more to its sunset."""

    def make(kind: str = "api_version", subject: str = "v1", successor: str = "v2") -> DeprecationSchedule:
        walk(NOW)
        return schedules.save(
            DeprecationSchedule(
                kind=kind,
                subject=subject,
                announce_at=NOW,
                deprecate_at=NOW + 30 * DAY,
                sunset_at=NOW + 230 * DAY,
                successor=successor,
                reason="The new one says more.",
                guide="Use the new one.",
            )
        )

    return make


def v1(customer: Customer, **headers: str) -> Answer:
    return Api(customer).post("/v1/predict", SENTENCE, headers=headers)


def assert_says_nothing(answer: Answer) -> None:
    assert answer.status == 200, answer.content
    assert not set(HEADERS) & set(answer.headers)


def assert_announces(answer: Answer, row: DeprecationSchedule) -> None:
    """When it ends and where to go, and not yet that it is deprecated."""
    assert answer.status == 200, answer.content
    assert parsedate_to_datetime(answer.headers["Sunset"]) == row.sunset_at
    assert answer.headers["X-API-Sunset-Date"] == row.sunset_at.date().isoformat()
    assert 'rel="deprecation"' in answer.headers["Link"]
    assert 'rel="successor-version"' in answer.headers["Link"]
    assert not {"Deprecation", "X-API-Deprecated"} & set(answer.headers)


def assert_says(answer: Answer, row: DeprecationSchedule, *, sunset: dt.datetime | None = None) -> None:
    """Each header, word by word, as STANDARDS.md has it."""
    sunset = sunset or row.sunset_at
    assert answer.headers["Deprecation"] == f"@{int(row.deprecate_at.timestamp())}"
    assert parsedate_to_datetime(answer.headers["Sunset"]) == sunset
    assert answer.headers["X-API-Deprecated"] == "true"
    assert answer.headers["X-API-Sunset-Date"] == sunset.date().isoformat()
    relations = {
        relation: target for target, relation in re.findall(r'<([^>]+)>; rel="([^"]+)"', answer.headers["Link"])
    }
    assert relations.keys() == {"deprecation", "sunset", "successor-version"}
    assert "/docs/migrate/" in relations["deprecation"]


def test_v1_from_its_announcement_to_its_sunset(
    acme: Customer, live_worker: LiveWorker, walk: Walk, ends: Ends
) -> None:
    assert_says_nothing(v1(acme))
    row = ends()
    assert_announces(v1(acme), row)
    walk(row.deprecate_at - dt.timedelta(seconds=1))
    assert_announces(v1(acme), row)
    walk(row.deprecate_at)
    answer = v1(acme)
    assert answer.status == 200
    assert answer.body["prediction"] == "positive"
    assert_says(answer, row)
    assert "http://127.0.0.1:8000/v2/predict" in answer.headers["Link"]
    assert_limit_headers(answer)
    walk(row.sunset_at - dt.timedelta(seconds=1))
    assert v1(acme).status == 200
    charged = len(ledger.records(acme.tenant))
    walk(row.sunset_at)
    gone = v1(acme)
    assert_problem(gone, ErrorKind.GONE, "API version v1 ended on 2027-08-22", "v2", field="API-Version")
    assert (gone.body["successor"], gone.body["guide"]) == ("v2", "/docs/migrate/v1-v2")
    assert_says(gone, row)
    assert_limit_headers(gone)
    assert len(ledger.records(acme.tenant)) == charged
    assert ledger.holds(acme.tenant) == 0


def test_the_other_versions_say_nothing(acme: Customer, live_worker: LiveWorker, walk: Walk, ends: Ends) -> None:
    row = ends()
    walk(row.sunset_at)
    for path in ("/v1.1/predict", "/v2/predict", "/predict"):
        assert_says_nothing(Api(acme).post(path, SENTENCE))


@pytest.mark.parametrize("way", ["header", "query", "pin"])
def test_however_it_was_selected(acme: Customer, live_worker: LiveWorker, walk: Walk, ends: Ends, way: str) -> None:
    row = ends()
    if way == "pin":
        acme.key.pinned_api_version = "v1"
        acme.key.save()
        api_keys.changed(key=acme.key)
    walk(row.sunset_at)
    headers = {"api-version": "v1"} if way == "header" else {}
    answer = Api(acme).post("/predict?version=v1" if way == "query" else "/predict", SENTENCE, headers=headers)
    assert_problem(answer, ErrorKind.GONE, "v1", field="API-Version")
    assert_says(answer, row)
    ledger.assert_untouched(acme)


def test_who_is_not_authenticated_hears_nothing(acme: Customer, walk: Walk, ends: Ends) -> None:
    row = ends()
    walk(row.sunset_at)
    answer = Api(secret="mlp_live_wrong").post("/v1/predict", SENTENCE)
    assert_problem(answer, ErrorKind.UNAUTHENTICATED)
    assert not set(HEADERS) & set(answer.headers)


def test_a_brownout_for_all(acme: Customer, globex: Customer, live_worker: LiveWorker, walk: Walk, ends: Ends) -> None:
    row = ends()
    begin, end = row.deprecate_at + DAY, row.deprecate_at + DAY + dt.timedelta(hours=2)
    schedules.plan_brownout(schedule=row, starts_at=begin, ends_at=end, share=100, by=None)
    walk(begin - dt.timedelta(seconds=1))
    assert v1(acme).status == 200
    charged = len(ledger.records(acme.tenant))
    walk(begin)
    for customer in (acme, globex):
        answer = v1(customer)
        assert_problem(answer, ErrorKind.BROWNOUT, "100 % of its calls fail until 2027-02-04 11:00 UTC", "v2")
        assert answer.headers["Retry-After"] == "7200"
        assert_says(answer, row)
        (shown,) = re.findall(r"^```json\n(.*?)^```", guides.text_of("lifecycle.md"), flags=re.MULTILINE | re.DOTALL)
        assert json.loads(shown) == {**answer.body, "request_id": json.loads(shown)["request_id"]}
    assert len(ledger.records(acme.tenant)) == charged
    ledger.assert_untouched(globex)
    assert_says_nothing(Api(acme).post("/v2/predict", SENTENCE))
    walk(end)
    assert v1(acme).status == 200


def test_a_brownout_of_a_share(acme: Customer, live_worker: LiveWorker, walk: Walk, ends: Ends) -> None:
    row = ends()
    schedules.plan_brownout(schedule=row, starts_at=row.deprecate_at, ends_at=row.deprecate_at + DAY, share=50, by=None)
    walk(row.deprecate_at)
    first = [v1(acme, **{"x-request-id": f"call-{number}"}).status for number in range(60)]
    again = [v1(acme, **{"x-request-id": f"call-{number}"}).status for number in range(60)]
    assert first == again
    assert set(first) == {200, 503}
    assert len(ledger.records(acme.tenant)) == 2 * first.count(200)


def test_a_rehearsal_is_the_tenants_own_and_stops_at_once(
    acme: Customer, globex: Customer, live_worker: LiveWorker, walk: Walk, ends: Ends
) -> None:
    row = ends()
    schedules.rehearse_brownout(schedule_id=row.pk, tenant=acme.tenant, minutes=30, share=100)
    assert_problem(v1(acme), ErrorKind.BROWNOUT, "rehearsed by your tenant")
    ledger.assert_untouched(acme)
    assert v1(globex).status == 200
    schedules.stop_rehearsal(schedule_id=row.pk, tenant=acme.tenant)
    assert v1(acme).status == 200


def test_an_extension_postpones_the_end_for_one_tenant(
    acme: Customer, globex: Customer, live_worker: LiveWorker, walk: Walk, ends: Ends
) -> None:
    row = ends()
    until = row.sunset_at + 60 * DAY
    schedules.grant_extension(
        schedule=row, tenant=acme.tenant, until=until, reason="Their freeze.", approved_by=globex.owner
    )
    walk(row.sunset_at)
    answer = v1(acme)
    assert answer.status == 200
    assert_says(answer, row, sunset=until)
    assert v1(globex).status == 410
    walk(until)
    assert v1(acme).status == 410


def test_a_pinned_model_version_ends(acme: Customer, live_worker: LiveWorker, walk: Walk, ends: Ends) -> None:
    versions.promote(version=ModelVersion.objects.get(model__name="sentiment", version="2.0.0"))
    row = ends("model_version", "sentiment@1.0.0", "sentiment@2.0.0")
    pinned = SENTENCE | {"model": "sentiment@1.0.0"}
    assert_announces(Api(acme).post("/v2/predict", pinned), row)
    walk(row.deprecate_at)
    answer = Api(acme).post("/v2/predict", pinned)
    assert answer.body["model_version"] == "1.0.0"
    assert_says(answer, row)
    assert "/v2/models/sentiment@2.0.0/predict" in answer.headers["Link"]
    assert_says_nothing(Api(acme).post("/v2/predict", SENTENCE))
    walk(row.sunset_at)
    versions.retire(version=ModelVersion.objects.get(model__name="sentiment", version="1.0.0"))
    charged = len(ledger.records(acme.tenant))
    gone = Api(acme).post("/v2/predict", pinned)
    assert_problem(gone, ErrorKind.GONE, "The model version sentiment@1.0.0 ended", "sentiment@2.0.0", field="model")
    assert len(ledger.records(acme.tenant)) == charged
    unpinned = Api(acme).post("/v2/predict", SENTENCE)
    assert_says_nothing(unpinned)
    assert unpinned.body["model_version"] == "2.0.0"


def test_a_key_that_may_not_use_the_model_learns_nothing_of_its_end(
    acme: Customer, live_worker: LiveWorker, walk: Walk, ends: Ends
) -> None:
    versions.promote(version=ModelVersion.objects.get(model__name="sentiment", version="2.0.0"))
    row = ends("model_version", "sentiment@1.0.0", "sentiment@2.0.0")
    issued = api_keys.issue(
        tenant=acme.tenant, name="Digits only", scopes=["predict"], allowed_models=["digits"], created_by=acme.owner
    )
    walk(row.sunset_at)
    answer = Api(secret=issued.secret).post("/v2/predict", SENTENCE | {"model": "sentiment@1.0.0"})
    assert_problem(answer, ErrorKind.NOT_FOUND, "sentiment@1.0.0", field="model")
    assert not set(HEADERS) & set(answer.headers)


def test_in_a_batch_only_the_ended_input_fails(acme: Customer, live_worker: LiveWorker, walk: Walk, ends: Ends) -> None:
    versions.promote(version=ModelVersion.objects.get(model__name="sentiment", version="2.0.0"))
    row = ends("model_version", "sentiment@1.0.0", "sentiment@2.0.0")
    body = {"requests": [SENTENCE, SENTENCE | {"model": "sentiment@1.0.0"}]}
    walk(row.deprecate_at)
    answer = Api(acme).post("/v2/batch-predict", body)
    assert [item["model_version"] for item in answer.body["responses"]] == ["2.0.0", "1.0.0"]
    assert_says(answer, row)
    walk(row.sunset_at)
    good, ended = Api(acme).post("/v2/batch-predict", body).body["responses"]
    assert good["model_version"] == "2.0.0"
    assert (ended["status"], ended["field"], ended["successor"]) == (410, "requests[1].model", "sentiment@2.0.0")
