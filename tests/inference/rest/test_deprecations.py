"""``/v2/deprecations``: what ends for a tenant, and its rehearsals of a brownout and of the migration."""

import datetime as dt
from typing import Any

import pytest
from auditlog.models import LogEntry

from billing.models import VersionUse
from inference.deprecations.rehearsals import jobs as rehearsal_jobs
from inference.models import CallSample, Rehearsal
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys, tenancy
from tenants.deprecations import schedules
from tenants.models import Brownout, DeprecationSchedule
from tests.conftest import Customer
from tests.support import ledger
from tests.support.ending import DAY, make_schedule
from tests.support.live_worker import LiveWorker
from tests.support.rest import Answer, Api, assert_limit_headers, assert_problem
from tests.support.walked_clock import published_at_once

__all__ = ["published_at_once"]

pytestmark = pytest.mark.usefixtures("prices", "published_at_once")

SENTENCE = {"model": "sentiment", "input": "What a wonderful morning!"}
EVERY_SECOND = {"minutes": 5, "share": 50}
ALL = {"minutes": 5, "share": 100}


@pytest.fixture
def ending(db: None) -> DeprecationSchedule:
    """v1, deprecated ten days ago."""
    return make_schedule()


def address(schedule: DeprecationSchedule, rest: str = "") -> str:
    return f"/v2/deprecations/{schedule.pk}{rest}"


def delete(api: Api, path: str) -> Answer:
    return api.call("DELETE", path)


def v1(api: Api) -> Answer:
    return api.post("/v1/predict", SENTENCE)


def use(customer: Customer, *, calls: int = 3, days_ago: int = 0, **fields: Any) -> VersionUse:
    moment = clock.now() - days_ago * DAY
    return VersionUse.objects.create(
        **{
            "tenant": customer.tenant, "day": moment.date(), "key_uid": customer.key.uid, "api_version": "v1",
            "model": "sentiment", "model_version": "1.0.0", "client": "curl/8", "calls": calls, "version_calls": calls,
            "units": calls,
            "last_call_at": moment, **fields,
        }
    )  # fmt: skip


# --- Reading ----------------------------------------------------------------------------------------------------------


def test_a_tenant_reads_what_ends_and_what_it_still_uses(
    acme: Customer, globex: Customer, ending: DeprecationSchedule
) -> None:
    last = use(acme, calls=3)
    use(acme, calls=4, days_ago=29)
    use(acme, calls=100, days_ago=31)
    use(globex, calls=1000)
    until = ending.sunset_at + 30 * DAY
    schedules.grant_extension(
        schedule=ending, tenant=acme.tenant, until=until, reason="A large fleet.", approved_by=acme.owner
    )
    later = make_schedule("model_version", "sentiment@1.0.0", "sentiment@2.0.0", sunset_in_days=300)
    answer = Api(acme).get("/v2/deprecations")
    assert answer.status == 200
    assert_limit_headers(answer)
    first, second = answer.body["deprecations"]
    assert first == {
        "id": ending.pk,
        "kind": "api_version",
        "subject": "v1",
        "state": "deprecated",
        "successor": "v2",
        "guide": first["guide"],
        "reason": "Its successor says more.",
        "announced_at": ending.announce_at.isoformat(),
        "deprecated_at": ending.deprecate_at.isoformat(),
        "sunset_at": ending.sunset_at.isoformat(),
        "own_sunset_at": until.isoformat(),
        "use": {"days": 30, "calls": 7, "last_call_at": last.last_call_at.isoformat()},
        "brownouts": [],
        "banner": first["banner"],
        "rehearsal": {"verdict": "not_rehearsed", "state": None},
    }
    assert first["guide"].endswith("/docs/migrate/v1-v2")
    assert set(first["banner"]) == {"severity", "title", "text"}
    assert "v1" in first["banner"]["title"]
    assert (second["id"], second["subject"], second["use"]["calls"]) == (later.pk, "sentiment@1.0.0", 7)
    assert Api(acme).get(address(ending)).body == first
    assert Api(globex).get(address(ending)).body["own_sunset_at"] == ending.sunset_at.isoformat()
    ledger.assert_untouched(acme)


def test_states_are_those_of_this_moment_for_this_tenant(acme: Customer, globex: Customer) -> None:
    announced = make_schedule("model_version", "sentiment@1.0.0", "sentiment@2.0.0", deprecated_days_ago=-5)
    over = make_schedule(sunset_in_days=-1)
    schedules.grant_extension(
        schedule=over, tenant=globex.tenant, until=clock.now() + DAY, reason="Late.", approved_by=globex.owner
    )
    assert Api(acme).get(address(announced)).body["state"] == "announced"
    assert Api(acme).get(address(over)).body["state"] == "sunset"
    assert Api(globex).get(address(over)).body["state"] == "deprecated"


def test_brownouts_of_all_and_of_ones_own_are_told_and_no_others(
    acme: Customer, globex: Customer, ending: DeprecationSchedule
) -> None:
    start = clock.now() + DAY
    schedules.plan_brownout(
        schedule=ending, starts_at=start, ends_at=start + dt.timedelta(hours=1), share=10, by=acme.owner
    )
    schedules.rehearse_brownout(schedule_id=ending.pk, tenant=globex.tenant, minutes=5, share=100)
    planned = {"starts_at": start.isoformat(), "ends_at": (start + dt.timedelta(hours=1)).isoformat(), "share": 10}
    assert Api(acme).get(address(ending)).body["brownouts"] == [planned | {"own": False}]
    assert [one["own"] for one in Api(globex).get(address(ending)).body["brownouts"]] == [True, False]


@pytest.mark.parametrize("what", ["unannounced", "canceled", "others", "missing", "no number", "huge"])
def test_what_is_not_ones_own_concern_answers_as_what_does_not_exist(
    acme: Customer, globex: Customer, what: str
) -> None:
    row = make_schedule(
        audience="users" if what == "others" else "everyone",
        announced_days_ago=-1 if what == "unannounced" else 40,
        deprecated_days_ago=-2 if what == "unannounced" else 10,
    )
    use(globex)
    if what == "canceled":
        schedules.cancel(row)
    api = Api(acme)
    if what in {"unannounced", "canceled", "others"}:
        assert api.get("/v2/deprecations").body == {"deprecations": []}
    place = f"/v2/deprecations/{ {'missing': row.pk + 1, 'no number': 'v1', 'huge': 10**30}.get(what, row.pk) }"
    for answer in (
        api.get(place),
        api.post(f"{place}/brownout", ALL),
        delete(api, f"{place}/brownout"),
        api.get(f"{place}/rehearsal"),
        api.post(f"{place}/rehearsal", {}),
    ):
        assert_problem(answer, ErrorKind.NOT_FOUND)
        assert answer.body["detail"] == "There is no such deprecation."
    assert not Brownout.objects.exists()
    assert not Rehearsal.objects.exists()


def test_who_uses_it_or_has_an_extension_is_concerned(
    acme: Customer, globex: Customer, ending: DeprecationSchedule
) -> None:
    DeprecationSchedule.objects.update(audience="users")
    assert Api(acme).get("/v2/deprecations").body == {"deprecations": []}
    use(acme)
    until = ending.sunset_at + DAY
    schedules.grant_extension(schedule=ending, tenant=globex.tenant, until=until, reason="A", approved_by=globex.owner)
    assert [Api(one).get(address(ending)).status for one in (acme, globex)] == [200, 200]


# --- Who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "rest", "scope"),
    [
        ("GET", "", "lifecycle:read"),
        ("GET", "/rehearsal", "lifecycle:read"),
        ("POST", "/brownout", "lifecycle:write"),
        ("DELETE", "/brownout", "lifecycle:write"),
        ("POST", "/rehearsal", "lifecycle:write"),
    ],
)
def test_each_address_needs_its_scope_and_a_caller_in_good_standing(
    acme: Customer,
    ending: DeprecationSchedule,
    django_capture_on_commit_callbacks: Any,
    method: str,
    rest: str,
    scope: str,
) -> None:
    others = [name for name in ("predict", "lifecycle:read", "lifecycle:write") if name != scope]
    narrow = Api(secret=api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=others).secret)
    content = b'{"minutes": 5, "share": 100}' if rest == "/brownout" else b"{}"

    def ask(api: Api) -> Answer:
        return api.call(method, address(ending, rest), content=content if method == "POST" else b"")

    answer = ask(narrow)
    assert_problem(answer, ErrorKind.FORBIDDEN, scope)
    assert answer.body["required_scope"] == scope
    assert_problem(ask(Api()), ErrorKind.UNAUTHENTICATED)
    api = Api(acme)
    assert api.get("/v2/me").status == 200
    with django_capture_on_commit_callbacks(execute=True):
        api_keys.revoke(key=acme.key)
    assert_problem(ask(api), ErrorKind.UNAUTHENTICATED)
    with django_capture_on_commit_callbacks(execute=True):
        tenancy.suspend(tenant=acme.tenant)
    assert_problem(ask(narrow), ErrorKind.FORBIDDEN, "suspended")
    assert not Brownout.objects.exists()
    assert not Rehearsal.objects.exists()


# --- A brownout, rehearsed and stopped --------------------------------------------------------------------------------


def test_a_tenant_rehearses_a_brownout_and_stops_it(
    acme: Customer, globex: Customer, live_worker: LiveWorker, ending: DeprecationSchedule
) -> None:
    api, other = Api(acme), Api(globex)
    begun = api.post(address(ending, "/brownout"), ALL)
    assert (begun.status, begun.body["share"], begun.body["own"]) == (200, 100, True)
    ends_at = dt.datetime.fromisoformat(begun.body["ends_at"])
    assert ends_at - dt.datetime.fromisoformat(begun.body["starts_at"]) == dt.timedelta(minutes=5)
    refused = v1(api)
    assert_problem(refused, ErrorKind.BROWNOUT, "rehearsed by your tenant", "v2", field="API-Version")
    assert refused.body["type"] == "/docs/problems#brownout"
    assert 240 < int(refused.headers["Retry-After"]) <= 300
    assert refused.headers["Deprecation"].startswith("@")
    ledger.assert_untouched(acme)
    assert v1(other).status == 200
    assert api.get(address(ending)).body["brownouts"] == [begun.body]
    stopped = delete(api, address(ending, "/brownout"))
    assert (stopped.status, stopped.body) == (200, {"stopped": 1})
    assert v1(api).status == 200
    assert ledger.units(acme.tenant) == 1
    assert delete(api, address(ending, "/brownout")).body == {"stopped": 0}
    assert api.get(address(ending)).body["brownouts"] == []


def test_a_second_rehearsal_replaces_the_first(acme: Customer, ending: DeprecationSchedule) -> None:
    api = Api(acme)
    api.post(address(ending, "/brownout"), ALL)
    second = api.post(address(ending, "/brownout"), EVERY_SECOND)
    assert api.get(address(ending)).body["brownouts"] == [second.body]


def test_one_cannot_stop_what_is_planned_for_all(acme: Customer, ending: DeprecationSchedule) -> None:
    now = clock.now()
    row = schedules.plan_brownout(
        schedule=ending, starts_at=now, ends_at=now + dt.timedelta(hours=1), share=100, by=acme.owner
    )
    api = Api(acme)
    assert delete(api, address(ending, "/brownout")).body == {"stopped": 0}
    assert_problem(v1(api), ErrorKind.BROWNOUT, "planned for all tenants")
    row.refresh_from_db()
    assert row.ends_at == now + dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"minutes": 0, "share": 50}, "minutes"),
        ({"minutes": 121, "share": 50}, "minutes"),
        ({"minutes": 5, "share": 0}, "share"),
        ({"minutes": 5, "share": 101}, "share"),
        ({"minutes": 5.5, "share": 50}, "minutes"),
        ({"minutes": True, "share": 50}, "minutes"),
        ({"minutes": "5", "share": 50}, "minutes"),
        ({"minutes": 5}, "share"),
        ({"minutes": 5, "share": 50, "tenant": 1}, "tenant"),
        ({}, "minutes"),
    ],
)
def test_a_brownout_says_how_long_and_how_much(
    acme: Customer, ending: DeprecationSchedule, body: Any, field: str
) -> None:
    assert_problem(Api(acme).post(address(ending, "/brownout"), body), ErrorKind.INVALID_INPUT, field=field)
    assert not Brownout.objects.exists()


def test_nothing_is_rehearsed_after_the_end(acme: Customer) -> None:
    over = make_schedule(sunset_in_days=-1)
    assert_problem(Api(acme).post(address(over, "/brownout"), ALL), ErrorKind.CONFLICT, "ended")
    assert not Brownout.objects.exists()


# --- A migration, rehearsed -------------------------------------------------------------------------------------------


def opt_in(customer: Customer) -> None:
    customer.tenant.keeps_calls = True
    customer.tenant.save()


def test_a_migration_is_asked_for_rehearsed_and_its_report_read(
    acme: Customer, globex: Customer, live_worker: LiveWorker, ending: DeprecationSchedule
) -> None:
    opt_in(acme)
    recorded = v1(Api(globex)).body
    CallSample.objects.create(
        tenant=acme.tenant, kind="api_version", subject="v1", api_version="v1", model="sentiment",
        key_uid=acme.key.uid, body=SENTENCE, answer=recorded, whole=True, called_at=clock.now(),
    )  # fmt: skip
    api = Api(acme)
    assert_problem(api.get(address(ending, "/rehearsal")), ErrorKind.NOT_FOUND, "not rehearsed yet")
    asked = api.post(address(ending, "/rehearsal"), {})
    assert (asked.status, asked.headers["Location"]) == (202, address(ending, "/rehearsal"))
    assert (asked.body["state"], asked.body["verdict"], asked.body["report"]) == ("queued", None, None)
    assert_problem(api.post(address(ending, "/rehearsal"), {}), ErrorKind.CONFLICT, "under way")
    assert_problem(Api(globex).get(address(ending, "/rehearsal")), ErrorKind.NOT_FOUND)
    rehearsal_jobs.run(Rehearsal.objects.get().pk)
    found = api.get(asked.headers["Location"])
    assert (found.status, found.body["state"], found.body["verdict"]) == (200, "succeeded", "ready")
    assert found.body["report"]["calls"] == 1
    assert api.get(address(ending)).body["rehearsal"] == {"verdict": "ready", "state": "succeeded"}
    ledger.assert_untouched(acme)


def test_without_opt_in_no_migration_is_rehearsed(acme: Customer, ending: DeprecationSchedule) -> None:
    assert_problem(Api(acme).post(address(ending, "/rehearsal"), {}), ErrorKind.FORBIDDEN, "opted in")
    assert not Rehearsal.objects.exists()


@pytest.mark.parametrize("body", [b"[]", b'{"a": 1}', b"{", b'{"minutes": 5}'])
def test_a_rehearsal_takes_no_words(acme: Customer, ending: DeprecationSchedule, body: bytes) -> None:
    opt_in(acme)
    answer = Api(acme).post(address(ending, "/rehearsal"), body)
    assert answer.status in {400, 422}
    if body.startswith(b'{"'):
        assert answer.body["field"] in {"a", "minutes"}
    assert not Rehearsal.objects.exists()


# --- Who did it -------------------------------------------------------------------------------------------------------


def test_the_audit_log_names_the_key(acme: Customer, ending: DeprecationSchedule) -> None:
    opt_in(acme)
    api = Api(acme)
    api.post(address(ending, "/brownout"), ALL, REMOTE_ADDR="192.0.2.7")
    delete(api, address(ending, "/brownout"))
    api.post(address(ending, "/rehearsal"), {})
    entries = LogEntry.objects.filter(content_type__model__in=["brownout", "rehearsal"]).order_by("pk")
    assert [(one.content_type.model, one.get_action_display()) for one in entries] == [
        ("brownout", "create"),
        ("brownout", "update"),
        ("rehearsal", "create"),
    ]
    by = {"api_key": acme.key.uid, "api_key_name": "Production", "tenant": "acme"}
    assert [one.additional_data for one in entries] == [by] * 3
    first = entries.first()
    assert first is not None
    assert (first.remote_addr, first.actor) == ("192.0.2.7", None)
