"""Who may call: what each wrong, absent or ended key is told, and that it learns and costs nothing."""

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from mlplatform.lib import clock, ids
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys, authentication, tenancy
from tenants.models import ApiKey
from tests.conftest import Customer
from tests.support import ledger
from tests.support.rest import Api, assert_limit_headers, assert_problem

Commit = Callable[..., AbstractContextManager[Any]]
BODY = {"model": "sentiment", "input": "x"}


def test_a_bearer_key_opens(acme: Customer) -> None:
    answer = Api(acme).get("/v2/me")
    assert (answer.status, answer.body["tenant"]["slug"]) == (200, "acme")


def test_the_scheme_is_case_insensitive(acme: Customer) -> None:
    assert Api().get("/v2/me", headers={"authorization": f"bearer  {acme.secret} "}).status == 200


def test_x_api_key_opens_too(acme: Customer) -> None:
    assert Api().get("/v2/me", headers={"x-api-key": acme.secret}).body["tenant"]["slug"] == "acme"


def test_the_same_key_twice_is_fine_and_two_are_not(acme: Customer, globex: Customer) -> None:
    assert Api(acme).get("/v2/me", headers={"x-api-key": acme.secret}).status == 200
    answer = Api(acme).get("/v2/me", headers={"x-api-key": globex.secret})
    assert_problem(answer, ErrorKind.MALFORMED, "different keys")


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "Authorization: Bearer"),
        ({"authorization": ""}, "Authorization: Bearer"),
        ({"authorization": "Bearer"}, "Authorization: Bearer"),
        ({"authorization": "Bearer   "}, "Authorization: Bearer"),
        ({"authorization": "Basic YTpi"}, "Authorization: Bearer"),
        ({"authorization": "Bearer nonsense"}, "looks like mlp_live_"),
        ({"authorization": "Bearer mlp_live_0123456789012345678901_000000"}, "checksum"),
        ({"x-api-key": "Ünïcödé"}, "looks like mlp_live_"),
    ],
)
@pytest.mark.parametrize("path", ["/v2/me", "/v2/models", "/v2/limits", "/v2/usage", "/v2/limits/explain/x"])
def test_no_key_or_none_of_ours(db: None, headers: dict[str, str], words: str, path: str) -> None:
    answer = Api().get(path, headers=headers)
    assert_problem(answer, ErrorKind.UNAUTHENTICATED, words)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "RateLimit" not in answer.headers


@pytest.mark.parametrize(
    "change", [lambda s: s[:-1], lambda s: s[:20], lambda s: s + "x", lambda s: s[:12] + "x" + s[13:]]
)
def test_a_key_that_was_cut_off_or_mistyped_is_told_so(acme: Customer, change: Callable[[str], str]) -> None:
    wrong = change(acme.secret) if change(acme.secret) != acme.secret else acme.secret[:12] + "y" + acme.secret[13:]
    answer = Api(secret=wrong).post("/v2/predict", BODY)
    assert_problem(answer, ErrorKind.UNAUTHENTICATED, "cut off")
    assert wrong not in answer.content.decode()
    ledger.assert_untouched(acme)


def test_a_well_formed_key_that_was_never_issued(acme: Customer) -> None:
    issued = api_keys.issue(tenant=acme.tenant, name="Gone")
    ApiKey.objects.filter(pk=issued.key.pk).delete()
    assert_problem(Api(secret=issued.secret).get("/v2/me"), ErrorKind.UNAUTHENTICATED, "No API key")


@pytest.mark.parametrize("body", [BODY, {"nonsense": 1}])
def test_a_revoked_key_is_refused_at_once(
    acme: Customer, django_capture_on_commit_callbacks: Commit, body: dict[str, object]
) -> None:
    api = Api(acme)
    assert api.get("/v2/me").status == 200
    with django_capture_on_commit_callbacks(execute=True):
        api_keys.revoke(key=acme.key)
    for answer in (api.post("/v2/predict", body), api.get("/v2/me"), api.get("/v2/models")):
        assert_problem(answer, ErrorKind.UNAUTHENTICATED, "revoked")
    assert ledger.records(acme.tenant) == []


def test_a_suspended_tenant_is_refused_at_once(acme: Customer, django_capture_on_commit_callbacks: Commit) -> None:
    api = Api(acme)
    assert api.get("/v2/me").status == 200
    with django_capture_on_commit_callbacks(execute=True):
        tenancy.suspend(tenant=acme.tenant)
    for answer in (api.post("/v2/predict", BODY), api.get("/v2/usage")):
        assert_problem(answer, ErrorKind.FORBIDDEN, "suspended")
    assert ledger.records(acme.tenant) == []
    with django_capture_on_commit_callbacks(execute=True):
        tenancy.resume(tenant=acme.tenant)
    assert api.get("/v2/me").status == 200


def test_an_expired_key(acme: Customer) -> None:
    ApiKey.objects.filter(pk=acme.key.pk).update(expires_at=clock.now() - dt.timedelta(seconds=1))
    assert_problem(Api(acme).get("/v2/me"), ErrorKind.UNAUTHENTICATED, "expired")


def test_both_secrets_work_while_a_key_is_rotated(acme: Customer, django_capture_on_commit_callbacks: Commit) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        fresh = api_keys.rotate(key=acme.key, overlap=dt.timedelta(hours=1))
    assert Api(acme).get("/v2/me").body["key"]["id"] == Api(secret=fresh.secret).get("/v2/me").body["key"]["id"]
    with django_capture_on_commit_callbacks(execute=True):
        api_keys.rotate(key=acme.key, overlap=dt.timedelta(0))
    assert_problem(Api(acme).get("/v2/me"), ErrorKind.UNAUTHENTICATED, "expired")


# --- Addresses --------------------------------------------------------------------------------------------------------


def office_key(acme: Customer) -> Api:
    return Api(
        secret=api_keys.issue(
            tenant=acme.tenant, name="Office", allowed_cidrs=["203.0.113.0/24", "2001:db8::/32"]
        ).secret
    )


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("203.0.113.9", 200),
        ("::ffff:203.0.113.9", 200),
        ("2001:db8::1", 200),
        ("203.0.114.9", 403),
        ("2001:db9::1", 403),
    ],
)
def test_a_key_for_some_addresses(acme: Customer, address: str, status: int) -> None:
    answer = office_key(acme).get("/v2/me", REMOTE_ADDR=address)
    assert answer.status == status
    if status == 403:
        assert_problem(answer, ErrorKind.FORBIDDEN, address)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "status"),
    [
        (0, "203.0.113.9", 403),
        (1, "203.0.113.9", 200),
        (1, "198.51.100.1, 203.0.113.9", 200),
        (1, "203.0.113.9, 198.51.100.1", 403),
        (2, "203.0.113.9, 198.51.100.1", 200),
        (2, "203.0.113.9", 403),
        (1, "nonsense", 403),
    ],
)
def test_a_forwarded_address_counts_as_far_as_proxies_are_trusted(
    acme: Customer, settings: Any, proxies: int, forwarded: str, status: int
) -> None:
    settings.TRUSTED_PROXIES = proxies
    assert (
        office_key(acme).get("/v2/me", headers={"x-forwarded-for": forwarded}, REMOTE_ADDR="10.0.0.1").status == status
    )


# --- Guessing -----------------------------------------------------------------------------------------------------------


def test_many_wrong_keys_from_one_address_are_stopped(acme: Customer, settings: Any) -> None:
    settings.WRONG_KEYS_PER_ADDRESS = "3/h"
    wrong = Api(secret="mlp_live_wrong")
    for _ in range(3):
        assert_problem(wrong.get("/v2/me", REMOTE_ADDR="192.0.2.1"), ErrorKind.UNAUTHENTICATED)
    answer = wrong.get("/v2/me", REMOTE_ADDR="192.0.2.1")
    assert_problem(answer, ErrorKind.TOO_MANY_ATTEMPTS, "wrong API keys")
    assert 1 <= int(answer.headers["Retry-After"]) <= 3600
    assert_problem(Api(secret=unknown_secret()).get("/v2/me", REMOTE_ADDR="192.0.2.1"), ErrorKind.TOO_MANY_ATTEMPTS)
    assert_problem(wrong.get("/v2/me", REMOTE_ADDR="192.0.2.2"), ErrorKind.UNAUTHENTICATED)


@pytest.mark.parametrize("path", ["/v2/me", "/v2/models", "/openai/v1/models", "/v2/limits", "/graphql"])
def test_a_good_key_passes_from_an_address_of_wrong_ones(
    acme: Customer, globex: Customer, settings: Any, path: str
) -> None:
    """Whether the process remembers the key or not."""
    settings.WRONG_KEYS_PER_ADDRESS = "2/h"

    def status(api: Api) -> int:
        return (api.post(path, {"query": "{ tenant { slug } }"}) if path == "/graphql" else api.get(path)).status

    for secret in ("mlp_live_wrong", unknown_secret(), unknown_secret(), "mlp_live_wrong"):
        answered = status(Api(secret=secret))
    assert answered == 429
    for _ in range(2):
        assert [status(Api(customer)) for customer in (acme, globex)] == [200, 200]
    authentication.forget_all()
    assert [status(Api(customer)) for customer in (acme, globex)] == [200, 200]


def test_keys_that_were_good_once_are_no_guesses(acme: Customer, settings: Any) -> None:
    """A program whose key ended is told so each time, and takes nothing from its neighbours' count."""
    settings.WRONG_KEYS_PER_ADDRESS = "1/h"
    revoked = api_keys.issue(tenant=acme.tenant, name="Revoked")
    api_keys.revoke(key=revoked.key)
    expired = api_keys.issue(tenant=acme.tenant, name="Expired", expires_at=clock.now() + dt.timedelta(seconds=60))
    ApiKey.objects.filter(pk=expired.key.pk).update(expires_at=clock.now())
    for _ in range(3):
        assert_problem(Api(secret=revoked.secret).get("/v2/me"), ErrorKind.UNAUTHENTICATED, "revoked")
        assert_problem(Api(secret=expired.secret).get("/v2/me"), ErrorKind.UNAUTHENTICATED, "expired")
    assert_problem(Api(secret="mlp_live_wrong").get("/v2/me"), ErrorKind.UNAUTHENTICATED)
    assert_problem(Api(secret="mlp_live_wrong").get("/v2/me"), ErrorKind.TOO_MANY_ATTEMPTS)


def unknown_secret() -> str:
    """Well formed, with a checksum that fits, and never issued."""
    start = f"mlp_live_{ids.base62_token(22)}"
    return f"{start}_{ids.base62_checksum(start, 6)}"


# --- Me ------------------------------------------------------------------------------------------------------------------


def test_me_tells_the_key_its_tenant_and_its_plan(acme: Customer) -> None:
    expires = clock.now() + dt.timedelta(days=1)
    issued = api_keys.issue(
        tenant=acme.tenant,
        name="Narrow",
        scopes=["predict"],
        allowed_models=["digits"],
        allowed_cidrs=["127.0.0.0/8"],
        pinned_api_version="v2",
        expires_at=expires,
    )
    answer = Api(secret=issued.secret).get("/v2/me")
    assert answer.body == {
        "tenant": {"slug": "acme", "name": "Acme", "default_model": None},
        "key": {
            "id": issued.key.uid,
            "name": "Narrow",
            "mode": "live",
            "scopes": ["predict"],
            "allowed_models": ["digits"],
            "allowed_networks": ["127.0.0.0/8"],
            "pinned_api_version": "v2",
            "valid_until": expires.isoformat(),
        },
        "plan": "Plan of acme",
    }
    assert_limit_headers(answer)
    ledger.assert_untouched(acme)
