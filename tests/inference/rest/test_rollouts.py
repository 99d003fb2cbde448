"""Staff and owners promote, roll back, try and purge by REST; other keys are refused, and nothing changes then."""

from typing import Any

import pytest
from auditlog.models import LogEntry

from inference.models import MLModel, ModelVersion, Promotion, Rollout
from inference.registry import versions as model_versions
from inference.registry.rollouts import trials
from inference.trials import canary, counting
from mlplatform.lib import enqueue
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys
from tenants.models import Tenant
from tests.conftest import Customer
from tests.support import ledger
from tests.support.holding import report, reports_are_asked
from tests.support.rest import Answer, Api, assert_limit_headers, assert_problem
from tests.support.tiny_model import make_version
from tests.support.walked_clock import published_at_once

__all__ = ["published_at_once", "reports_are_asked"]

pytestmark = pytest.mark.usefixtures("prices", "published_at_once")

WRITES: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/v2/models/tiny/promote", {"version": "2.0.0"}),
    ("POST", "/v2/models/tiny/rollback", {}),
    ("POST", "/v2/models/tiny/canary", {"version": "2.0.0", "percent": 100}),
    ("DELETE", "/v2/models/tiny/canary", None),
    ("POST", "/v2/models/tiny/shadow", {"version": "2.0.0"}),
    ("DELETE", "/v2/models/tiny/shadow", None),
    ("POST", "/v2/models/tiny/purge", {}),
    ("POST", "/v2/models/tiny/versions/2.0.0/retire", {}),
    ("POST", "/v2/admin/update-model", {"model": "tiny", "version": "2.0.0"}),
    ("GET", "/v2/models/tiny/rollouts", None),
]


@pytest.fixture
def versions(db: None) -> None:
    """``tiny@1.0.0`` is live, 2.0.0 is ready."""
    make_version()
    make_version(version="2.0.0", state="ready")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tasks that workers were sent."""
    sent: list[str] = []
    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: sent.append(task))
    return sent


@pytest.fixture
def operator(acme: Customer, versions: None) -> Api:
    """A key of the organisation that runs the platform."""
    Tenant.objects.filter(pk=acme.tenant.pk).update(operator=True)
    return Api(acme)


def send(api: Api, method: str, path: str, body: dict[str, Any] | None) -> Answer:
    if body is not None:
        return api.post(path, body)
    return api.call(method, path)


def everything() -> list[Any]:
    rows: list[Any] = [sorted(ModelVersion.objects.values_list("pk", "state"))]
    rows += [list(MLModel.objects.values_list("cache_epoch", flat=True))]
    rows += [Rollout.objects.count(), Promotion.objects.count()]
    return rows


def test_promote_roll_back_and_what_is_told(operator: Api, acme: Customer) -> None:
    promoted = operator.post("/v2/models/tiny/promote", {"version": "2.0.0"})
    assert promoted.status == 200, promoted.body
    history = promoted.body.pop("history")
    assert promoted.body == {
        "model": "tiny",
        "live_version": "2.0.0",
        "rollback_version": "1.0.0",
        "canary": None,
        "shadow": None,
    }
    assert [(one["version"], one["reason"]) for one in history] == [("2.0.0", "promoted")]
    assert model_versions.resolve("tiny").version == "2.0.0"
    back = operator.post("/v2/models/tiny/rollback", {})
    assert (back.body["live_version"], back.body["rollback_version"]) == ("1.0.0", None)
    assert [one["reason"] for one in back.body["history"]] == ["rolled_back", "promoted"]
    assert operator.get("/v2/models/tiny/rollouts").body == back.body
    again = operator.post("/v2/models/tiny/rollback", {})
    assert_problem(again, ErrorKind.CONFLICT, "no version of tiny to go back to")
    assert_limit_headers(back)
    ledger.assert_untouched(acme)


def test_the_audit_log_names_the_key(operator: Api, acme: Customer) -> None:
    operator.post("/v2/models/tiny/promote", {"version": "2.0.0"})
    operator.post("/v2/models/tiny/purge", {})
    operator.post("/v2/models/tiny/versions/1.0.0/retire", {})
    promoted = LogEntry.objects.get_for_object(Promotion.objects.get()).get()
    purged = LogEntry.objects.get_for_object(MLModel.objects.get()).filter(changes__cache_epoch=["0", "1"]).get()
    retired = LogEntry.objects.filter(changes__state=["ready", "retired"]).get()
    for entry in (promoted, purged, retired):
        assert entry.additional_data == {
            "api_key": acme.key.uid,
            "api_key_name": "Production",
            "tenant": "acme",
        }
        assert entry.remote_addr == "127.0.0.1"


@pytest.mark.usefixtures("reports_are_asked")
def test_what_no_worker_holds_is_not_promoted(operator: Api, asked: list[str]) -> None:
    report()
    before = everything()
    for path, body in (
        ("/v2/models/tiny/promote", {}),
        ("/v2/models/tiny/canary", {"percent": 5}),
        ("/v2/admin/update-model", {"model": "tiny"}),
    ):
        refused = operator.post(path, {"version": "2.0.0", **body})
        assert_problem(
            refused, ErrorKind.CONFLICT, "No worker holds tiny@2.0.0 in memory now; one was asked to load it."
        )
    assert everything() == before
    assert asked == ["inference.verify_version"]
    report(ModelVersion.objects.get(version="2.0.0"))
    assert operator.post("/v2/models/tiny/promote", {"version": "2.0.0"}).body["live_version"] == "2.0.0"


def test_a_canary_from_start_to_end(operator: Api, acme: Customer) -> None:
    body = {"version": "2.0.0", "percent": 100, "max_error_rate": 0.5, "max_latency_ratio": 3, "min_calls": 7}
    started = operator.post("/v2/models/tiny/canary", body)
    assert started.status == 200, started.body
    shown = started.body["canary"]
    assert shown.pop("started_at")
    assert shown == body | {"observed": None, "max_latency_ratio": 3.0}
    row = Rollout.objects.get()
    counting.add(row.pk, "canary", {"calls": 3, "errors": 1}, bucket=40)
    counting.flush()
    canary.judge_all()
    observed = operator.get("/v2/models/tiny/rollouts").body["canary"]["observed"]
    assert (observed["canary"]["inputs"], observed["canary"]["errors"], observed["live"]["inputs"]) == (3, 1, 0)
    smaller = operator.post("/v2/models/tiny/canary", {"version": "2.0.0", "percent": 5})
    assert (smaller.body["canary"]["percent"], Rollout.objects.count()) == (5, 1)
    stopped = operator.call("DELETE", "/v2/models/tiny/canary")
    assert (stopped.status, stopped.body["canary"]) == (200, None)
    assert operator.call("DELETE", "/v2/models/tiny/canary").status == 200


def test_a_shadow(operator: Api) -> None:
    started = operator.post("/v2/models/tiny/shadow", {"version": "2.0.0"})
    assert (started.body["shadow"]["version"], started.body["shadow"]["percent"]) == ("2.0.0", 100)
    assert operator.post("/v2/models/tiny/shadow", {"version": "2.0.0", "percent": 3}).body["shadow"]["percent"] == 3
    assert operator.call("DELETE", "/v2/models/tiny/shadow").body["shadow"] is None


def test_update_model_promotes_and_purges_both_or_neither(operator: Api) -> None:
    answer = operator.post("/v2/admin/update-model", {"model": "tiny", "version": "2.0.0"})
    assert answer.body["live_version"] == "2.0.0"
    assert MLModel.objects.get().cache_epoch == 1
    make_version(version="3.0.0", state="staged")
    before = everything()
    refused = operator.post("/v2/admin/update-model", {"model": "tiny", "version": "3.0.0"})
    assert_problem(refused, ErrorKind.CONFLICT, "only a ready version")
    assert everything() == before
    assert operator.post("/v2/models/tiny/purge", {}).status == 200
    assert MLModel.objects.get().cache_epoch == 2


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_without_the_scope_without_a_key_and_for_whom_it_is_not(
    acme: Customer, globex: Customer, versions: None, method: str, path: str, body: dict[str, Any] | None
) -> None:
    """An outsider's public model: FORBIDDEN; a key without the scope: FORBIDDEN; a foreign private model: as none at all."""
    trials.start_canary(version=ModelVersion.objects.get(version="2.0.0"), percent=5)
    narrow = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["predict", "models:read"])
    other = api_keys.issue(tenant=acme.tenant, name="Other", scopes=["models:write"], allowed_models=["digits"])
    before = everything()
    assert_problem(send(Api(acme), method, path, body), ErrorKind.FORBIDDEN, "not your tenant's")
    assert_problem(send(Api(secret=narrow.secret), method, path, body), ErrorKind.FORBIDDEN, "'models:write'")
    assert_problem(send(Api(), method, path, body), ErrorKind.UNAUTHENTICATED)
    assert_problem(send(Api(secret=other.secret), method, path, body), ErrorKind.NOT_FOUND)
    MLModel.objects.update(owner=acme.tenant)
    model_versions.changed()
    foreign = send(Api(globex), method, path, body)
    elsewhere = None if body is None else {**body, "model": "none"} if "model" in body else body
    missing = send(Api(globex), method, path.replace("tiny", "none"), elsewhere)
    assert_problem(foreign, ErrorKind.NOT_FOUND)
    assert foreign.body["detail"].replace("tiny", "none") == missing.body["detail"]
    assert everything() == before


def test_an_owner_manages_its_private_model(acme: Customer, versions: None) -> None:
    MLModel.objects.update(owner=acme.tenant)
    model_versions.changed()
    api = Api(acme)
    refused = api.post("/v2/models/tiny/canary", {"version": "2.0.0", "percent": 20})
    assert_problem(refused, ErrorKind.INVALID_INPUT, field="percent")
    assert api.post("/v2/models/tiny/canary", {"version": "2.0.0", "percent": 100}).status == 200
    assert api.post("/v2/models/tiny/promote", {"version": "2.0.0"}).body["live_version"] == "2.0.0"
    assert api.post("/v2/models/tiny/rollback", {}).body["live_version"] == "1.0.0"


def test_a_model_that_is_only_staged_is_unknown_to_customers(acme: Customer) -> None:
    make_version("secret", state="staged")
    answer = Api(acme).post("/v2/models/secret/promote", {"version": "1.0.0"})
    assert_problem(answer, ErrorKind.NOT_FOUND)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("promote", {}, "version"),
        ("promote", {"version": 2}, "version"),
        ("promote", {"version": ""}, "version"),
        ("promote", {"version": "2.0.0", "force": True}, "force"),
        ("rollback", {"to": "1.0.0"}, "to"),
        ("canary", {"version": "2.0.0"}, "percent"),
        ("canary", {"version": "2.0.0", "percent": True}, "percent"),
        ("canary", {"version": "2.0.0", "percent": 5.0}, "percent"),
        ("canary", {"version": "2.0.0", "percent": 0}, "percent"),
        ("canary", {"version": "2.0.0", "percent": 5, "max_error_rate": "low"}, "max_error_rate"),
        ("canary", {"version": "2.0.0", "percent": 5, "min_calls": 10**30}, "min_calls"),
        ("canary", {"version": "2.0.0", "percent": 5, "max_latency_ratio": 10**400}, "max_latency_ratio"),
        ("shadow", {"version": "2.0.0", "percent": 101}, "percent"),
        ("purge", {"all": True}, "all"),
        ("versions/2.0.0/retire", {"now": True}, "now"),
    ],
)
def test_bad_bodies_name_the_field_and_change_nothing(operator: Api, path: str, body: Any, field: str) -> None:
    before = everything()
    assert_problem(operator.post(f"/v2/models/tiny/{path}", body), ErrorKind.INVALID_INPUT, field=field)
    assert everything() == before


def test_a_version_that_is_not_there(operator: Api) -> None:
    answer = operator.post("/v2/models/tiny/promote", {"version": "9.9.9"})
    assert_problem(answer, ErrorKind.NOT_FOUND, "no version '9.9.9' of the model 'tiny'", field="version")
