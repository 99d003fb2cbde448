"""What each bad call is told: its code, its details; and that it costs nothing."""

import math
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import grpc
import pytest

from billing.models import LimitKind, LimitRule
from inference.grpc import statuses
from inference.grpc.generated import ml_inference_pb2 as pb
from inference.models import MLModel, ModelVersion
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import api_keys, tenancy
from tenants.scopes import SCOPES
from tests.conftest import Customer
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.grpc import Grpc, Problem, assert_problem
from tests.support.redis_server import RedisServer
from tests.support.tiny_model import make_version
from tests.support.windows import AGES_S, left_s

Commit = Callable[..., AbstractContextManager[Any]]
Code = grpc.StatusCode
WRONG_KEY = "mlp_live_0123456789012345678901_000000"
GRID = [1.0] * 6


def refused(api: Grpc, **fields: Any) -> Problem:
    """The problem of a Predict that must not succeed."""
    with pytest.raises(Problem) as problem:
        api.predict(**fields)
    return problem.value


def test_the_table_is_complete_and_says_internal_for_our_mistakes_alone() -> None:
    assert set(statuses.TABLE) == set(ErrorKind)
    assert [kind for kind, code in statuses.TABLE.items() if code in {Code.INTERNAL, Code.UNKNOWN}] == [
        ErrorKind.INTERNAL
    ]


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_has_its_details(kind: ErrorKind) -> None:
    problem = PlatformError(kind, "What is wrong.", field="requests[2].model", extra={"violated-policies": ["a", "b"]})
    status = statuses.status_of(problem, request_id="r-1")
    assert status.code == statuses.TABLE[kind].value[0]
    names = [packed.TypeName() for packed in status.details]
    assert names[:2] == ["google.rpc.ErrorInfo", "google.rpc.BadRequest"]
    assert ("google.rpc.RetryInfo" in names) == (statuses.retry_after(problem) > 0)
    item = statuses.item_status(problem)
    assert (item.code, item.reason, item.field) == (status.code, kind.name, "requests[2].model_name")
    assert dict(item.details) == {"violated_policies": "a,b"}


def test_a_status_stays_small_whatever_is_in_it() -> None:
    problem = PlatformError(ErrorKind.INVALID_INPUT, "ü" * 100_000, field="x" * 100_000, extra={"y": "z" * 100_000})
    assert statuses.status_of(problem, request_id="r").ByteSize() < 4096


# --- Keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "kind", "words"),
    [
        ([], ErrorKind.UNAUTHENTICATED, "Authorization: Bearer"),
        ([("authorization", "Basic YTpi")], ErrorKind.UNAUTHENTICATED, "Authorization: Bearer"),
        ([("authorization", f"Bearer {WRONG_KEY}")], ErrorKind.UNAUTHENTICATED, "checksum"),
        ([("x-api-key", WRONG_KEY)], ErrorKind.UNAUTHENTICATED, "checksum"),
        ([("authorization", f"Bearer {WRONG_KEY}"), ("x-api-key", "other")], ErrorKind.MALFORMED, "different keys"),
    ],
)
def test_no_key_or_none_of_ours(
    grpc_target: str, acme: Customer, metadata: list[tuple[str, str]], kind: ErrorKind, words: str
) -> None:
    with Grpc(grpc_target) as stranger:
        problem = refused(stranger, model_name="tiny", text="x", headers=metadata)
    assert_problem(problem, kind, statuses.TABLE[kind], words)
    assert "ratelimit" not in problem.headers
    ledger.assert_untouched(acme)


def test_many_wrong_keys_from_one_address_are_stopped_and_good_ones_pass(
    grpc_target: str, acme: Customer, tiny: ModelVersion, settings: Any
) -> None:
    settings.WRONG_KEYS_PER_ADDRESS = "2/h"
    with Grpc(grpc_target, secret=WRONG_KEY) as guesser:
        for _ in range(2):
            assert refused(guesser, text="x").code is Code.UNAUTHENTICATED
        problem = refused(guesser, text="x")
    assert_problem(problem, ErrorKind.TOO_MANY_ATTEMPTS, Code.RESOURCE_EXHAUSTED, "Too many wrong API keys")
    retry: Any = problem.details["RetryInfo"]
    assert 1 <= retry.retry_delay.seconds <= 3600
    assert int(problem.trailers["retry-after"]) >= 1
    with Grpc(grpc_target, secret=acme.secret) as api:
        assert_problem(refused(api, model_name="nothing", text="x"), ErrorKind.NOT_FOUND, Code.NOT_FOUND)


def test_a_forwarded_address_counts_as_far_as_proxies_are_trusted(
    grpc_target: str, acme: Customer, settings: Any
) -> None:
    settings.WRONG_KEYS_PER_ADDRESS = "1/h"
    forwarded = [("x-forwarded-for", "203.0.113.9")]
    with Grpc(grpc_target, secret=WRONG_KEY) as guesser:
        assert refused(guesser, text="x", headers=forwarded).code is Code.UNAUTHENTICATED
        # No proxy is trusted: the peer itself was counted, whatever it says.
        assert refused(guesser, text="x").code is Code.RESOURCE_EXHAUSTED
        settings.TRUSTED_PROXIES = 1
        assert refused(guesser, text="x", headers=forwarded).code is Code.UNAUTHENTICATED
        assert refused(guesser, text="x", headers=forwarded).code is Code.RESOURCE_EXHAUSTED


def test_a_proxy_may_add_its_entry_as_another_value(grpc_target: str, acme: Customer, settings: Any) -> None:
    """What the client wrote stands before it, and may be another lie each time."""
    settings.WRONG_KEYS_PER_ADDRESS = "1/h"
    settings.TRUSTED_PROXIES = 1
    codes = []
    with Grpc(grpc_target, secret=WRONG_KEY) as guesser:
        for lie, seen in (
            ("203.0.113.1", "198.51.100.7"),
            ("203.0.113.2", "198.51.100.7"),
            ("203.0.113.2", "198.51.100.8"),
        ):
            headers = [("x-forwarded-for", lie), ("x-forwarded-for", seen)]
            codes.append(refused(guesser, text="x", headers=headers).code)
    assert codes == [Code.UNAUTHENTICATED, Code.RESOURCE_EXHAUSTED, Code.UNAUTHENTICATED]


def test_a_key_for_other_addresses(grpc_target: str, acme: Customer, tiny: ModelVersion) -> None:
    office = api_keys.issue(tenant=acme.tenant, name="Office", scopes=list(SCOPES), allowed_cidrs=["198.51.100.0/24"])
    with Grpc(grpc_target, secret=office.secret) as api:
        assert_problem(
            refused(api, model_name="tiny", text="x"), ErrorKind.FORBIDDEN, Code.PERMISSION_DENIED, "127.0.0.1"
        )
    ledger.assert_untouched(acme)


def test_without_the_scope(grpc_target: str, acme: Customer, tiny: ModelVersion) -> None:
    issued = api_keys.issue(tenant=acme.tenant, name="Reader", scopes=["models:read"])
    with Grpc(grpc_target, secret=issued.secret) as reader:
        problem = refused(reader, model_name="tiny", text="x")
        assert_problem(problem, ErrorKind.FORBIDDEN, Code.PERMISSION_DENIED, "'predict'")
        info: Any = problem.details["ErrorInfo"]
        assert info.metadata["required_scope"] == "predict"
        assert "ratelimit" in problem.headers
        with pytest.raises(Problem) as batch:
            reader.batch([pb.PredictRequest(model_name="tiny", text="x")])
        assert_problem(batch.value, ErrorKind.FORBIDDEN, Code.PERMISSION_DENIED, "'batch'")
    ledger.assert_untouched(acme)


def test_a_key_that_was_revoked_meanwhile_is_told_so_by_a_refusal_before_admission(
    api: Grpc, acme: Customer, django_capture_on_commit_callbacks: Commit
) -> None:
    assert api.predict(model_name="tiny", text="x").message.units == 1
    cached_only = [("cache-control", "only-if-cached")]
    for text in "yz":
        problem = refused(api, model_name="tiny", text=text, headers=cached_only)
        assert problem.code is Code.FAILED_PRECONDITION
        assert "ratelimit" in problem.headers
    with django_capture_on_commit_callbacks(execute=True):
        api_keys.revoke(key=acme.key)
    problem = refused(api, model_name="tiny", text="y", headers=cached_only)
    assert_problem(problem, ErrorKind.UNAUTHENTICATED, Code.UNAUTHENTICATED, "revoked")
    assert ledger.units(acme.tenant) == 1


def test_a_revoked_key_and_a_suspended_tenant(
    api: Grpc, acme: Customer, django_capture_on_commit_callbacks: Commit
) -> None:
    assert api.predict(model_name="tiny", text="x").message.units == 1
    with django_capture_on_commit_callbacks(execute=True):
        tenancy.suspend(tenant=acme.tenant)
    problem = refused(api, model_name="tiny", text="y")
    assert_problem(problem, ErrorKind.FORBIDDEN, Code.PERMISSION_DENIED, "suspended")
    with django_capture_on_commit_callbacks(execute=True):
        tenancy.resume(tenant=acme.tenant)
        api_keys.revoke(key=acme.key)
    problem = refused(api, model_name="tiny", text="y")
    assert_problem(problem, ErrorKind.UNAUTHENTICATED, Code.UNAUTHENTICATED, "revoked")
    assert ledger.units(acme.tenant) == 1


# --- Inputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({}, "features", "missing"),
        ({"text": "x", "features": [1.0]}, "features", "one input"),
        ({"text": "x", "features_raw": b""}, "features", "one input"),
        ({"text": ""}, "text", "empty"),
        ({"text": "a\x00b"}, "text", "NUL"),
        ({"text": "x" * 101}, "text", "101"),
        ({"text": "x", "top_k": 0}, "top_k", "1 to 1000"),
        ({"text": "x", "top_k": -1}, "top_k", "1 to 1000"),
        ({"text": "x", "id": "no spaces"}, "id", "128"),
        ({"text": "x", "id": "x" * 129}, "id", "128"),
        ({"text": "x", "metadata": {str(number): "" for number in range(33)}}, "metadata", "32"),
        ({"text": "x", "metadata": {"k" * 65: ""}}, "metadata", "64"),
        ({"text": "x", "metadata": {"k": "v" * 257}}, "metadata", "256"),
        ({"features": [1.0]}, "features", "text"),
        ({"model_name": "grid", "text": "x"}, "text", "shape"),
        ({"model_name": "grid", "features": GRID[:5]}, "features", "6 numbers"),
        ({"model_name": "grid", "features": GRID * 2}, "features", "6 numbers"),
        ({"model_name": "grid", "features_raw": b""}, "features_raw", "6 numbers"),
        ({"model_name": "grid", "features_raw": b"12345"}, "features_raw", "4 bytes"),
        ({"model_name": "grid", "features": [*GRID[:4], math.nan, 1.0]}, "features[4]", "between"),
        ({"model_name": "grid", "features": [*GRID[:5], math.inf]}, "features[5]", "between"),
        ({"model_name": "grid", "features": [-math.inf, *GRID[:5]]}, "features[0]", "between"),
        ({"model_name": "grid", "features": [10.5, *GRID[:5]]}, "features[0]", "between"),
        ({"model_name": "grid", "features_raw": struct.pack("<6f", *GRID[:5], math.nan)}, "features_raw[5]", "between"),
        ({"model_name": "vector", "features": [math.inf] * 4}, "features[0]", "between"),
        ({"model_name": "vector", "features": [1.0] * 4, "top_k": 2}, "top_k", "embedding"),
        ({"model_name": "x" * 131, "text": "x"}, "model_name", "sentiment@1.2.0"),
    ],
)
def test_a_bad_input_is_named_and_costs_nothing(
    api: Grpc, acme: Customer, fields: dict[str, Any], field: str, words: str
) -> None:
    problem = refused(api, **{"model_name": "tiny", **fields})
    assert_problem(problem, ErrorKind.INVALID_INPUT, Code.INVALID_ARGUMENT, words, field=field)
    ledger.assert_untouched(acme)


@pytest.mark.parametrize("name", ["nobody", "tiny@9.9.9", "tiny@", "@", "Tiny", "tiny\x00", "täny", "other@1.0.0"])
def test_an_unknown_model_and_one_that_is_not_for_the_key_are_told_alike(
    api: Grpc, acme: Customer, grpc_target: str, name: str
) -> None:
    make_version("other")
    issued = api_keys.issue(tenant=acme.tenant, name="One", scopes=list(SCOPES), allowed_models=["tiny"])
    with Grpc(grpc_target, secret=issued.secret) as restricted:
        problem = refused(restricted, model_name=name, text="x")
    assert_problem(problem, ErrorKind.NOT_FOUND, Code.NOT_FOUND, "There is no model", field="model_name")
    ledger.assert_untouched(acme)


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"{}{}{}", b"\x00"])
@pytest.mark.parametrize("method", ["Predict", "BatchPredict"])
def test_bytes_that_are_no_message(api: Grpc, acme: Customer, grpc_target: str, method: str, data: bytes) -> None:
    path = f"/ml_inference.InferenceService/{method}"
    with pytest.raises(Problem) as problem:
        api.raw(path, data)
    assert_problem(problem.value, ErrorKind.MALFORMED, Code.INVALID_ARGUMENT, "no protobuf message")
    with Grpc(grpc_target) as stranger, pytest.raises(Problem) as unknown:
        stranger.raw(path, data)
    assert_problem(unknown.value, ErrorKind.UNAUTHENTICATED, Code.UNAUTHENTICATED)
    ledger.assert_untouched(acme)


def test_an_unknown_method(api: Grpc) -> None:
    with pytest.raises(Problem) as problem:
        api.raw("/ml_inference.InferenceService/Guess", b"")
    assert problem.value.code is Code.UNIMPLEMENTED


def test_a_message_over_the_limit(api: Grpc, acme: Customer, settings: Any) -> None:
    problem = refused(api, model_name="tiny", features_raw=b"\0" * (settings.GRPC_MAX_MESSAGE_BYTES + 1))
    assert problem.code is Code.RESOURCE_EXHAUSTED
    assert "larger than max" in problem.message
    ledger.assert_untouched(acme)


# --- Limits and the life of versions -----------------------------------------------------------------------------------


def test_a_used_up_limit_says_when_to_come_back(api: Grpc, acme: Customer) -> None:
    LimitRule.objects.create(
        plan=acme.plan, name="slow", kind=LimitKind.FIXED_WINDOW, counts="requests", amount=1, window_s=AGES_S
    )
    assert api.predict(model_name="tiny", text="a").message.units == 1
    problem = refused(api, model_name="tiny", text="b")
    assert_problem(problem, ErrorKind.QUOTA_EXCEEDED, Code.RESOURCE_EXHAUSTED, "'slow'")
    quota: Any = problem.details["QuotaFailure"]
    assert [violation.subject for violation in quota.violations] == ["slow"]
    retry: Any = problem.details["RetryInfo"]
    assert retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9 == pytest.approx(left_s(), abs=60)
    info: Any = problem.details["ErrorInfo"]
    assert info.metadata["violated_policies"] == "slow"
    assert int(problem.headers["retry-after"]) == pytest.approx(left_s(), abs=60)
    assert '"slow";r=0' in problem.headers["ratelimit"]
    assert ledger.units(acme.tenant) == 1


def test_a_call_that_can_never_pass(api: Grpc, acme: Customer) -> None:
    LimitRule.objects.create(plan=acme.plan, name="small", kind=LimitKind.FIXED_WINDOW, amount=3, window_s=AGES_S)
    with pytest.raises(Problem) as problem:
        api.batch([pb.PredictRequest(model_name="tiny", text=str(index)) for index in range(4)])
    assert_problem(problem.value, ErrorKind.CHARGE_TOO_LARGE, Code.INVALID_ARGUMENT, "'small'")
    assert "RetryInfo" not in problem.value.details
    assert ledger.records(acme.tenant) == []


def test_redis_is_away(api: Grpc, acme: Customer, state_redis: RedisServer) -> None:
    api.predict(model_name="tiny", text="a")
    state_redis.stop()
    problem = refused(api, model_name="tiny", text="b")
    state_redis.start()
    assert_problem(problem, ErrorKind.UNAVAILABLE, Code.UNAVAILABLE)
    assert "RetryInfo" in problem.details


def test_a_pinned_version_that_ends_is_told_with_the_answer(api: Grpc, acme: Customer) -> None:
    make_version(version="2.0.0", state="ready")
    row = make_schedule("model_version", "tiny@1.0.0", "tiny@2.0.0")
    answered = api.predict(model_name="tiny@1.0.0", text="x")
    assert answered.headers["deprecation"] == f"@{int(row.deprecate_at.timestamp())}"
    assert answered.headers["x-api-deprecated"] == "true"
    assert answered.headers["x-api-sunset-date"] == f"{row.sunset_at:%Y-%m-%d}"
    assert 'rel="deprecation"' in answered.headers["link"]
    ending = answered.message.deprecation
    assert (ending.subject, ending.successor) == ("tiny@1.0.0", "tiny@2.0.0")
    assert ending.sunset_at_s == int(row.sunset_at.timestamp())
    assert "deprecation" not in api.predict(model_name="tiny", text="x").headers


def test_a_pinned_version_that_has_ended_is_refused_with_its_guide(api: Grpc, acme: Customer, settings: Any) -> None:
    make_version(version="2.0.0", state="ready")
    make_schedule("model_version", "tiny@1.0.0", "tiny@2.0.0", deprecated_days_ago=30, sunset_in_days=-1)
    problem = refused(api, model_name="tiny@1.0.0", text="x")
    assert_problem(problem, ErrorKind.GONE, Code.FAILED_PRECONDITION, "tiny@2.0.0", field="model_name")
    help_: Any = problem.details["Help"]
    assert help_.links[0].url == f"{settings.BASE_URL}/docs/migrate/tiny@1.0.0-2.0.0"
    assert problem.headers["x-api-deprecated"] == "true"
    ledger.assert_untouched(acme)


def test_a_mistake_of_ours_is_internal_without_its_inside(api: Grpc, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("inference.engine.predict.predict_each", broken)
    problem = refused(api, model_name="tiny", text="x")
    assert_problem(problem, ErrorKind.INTERNAL, Code.INTERNAL)
    assert "secret" not in f"{problem.message}{problem.trailers}"


def test_nothing_is_kept_of_a_foreign_model(api: Grpc, acme: Customer, globex: Customer) -> None:
    assert not MLModel.objects.filter(name="nobody").exists()
    refused(api, model_name="nobody", text="x")
    ledger.assert_untouched(globex)
