"""From a secret to a caller: expiry, networks, suspended tenants, and a memory of bounded staleness."""

import datetime as dt

import pytest
from django.conf import settings
from pytest_django import DjangoAssertNumQueries

from mlplatform.lib import clock, ids
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import api_keys, authentication, tenancy
from tenants.authentication import authenticate
from tenants.models import ApiKey
from tests.conftest import Customer

HERE = "192.0.2.1"


def kind_of_refusal(secret: str, *, address: str = HERE, fresh: bool = False) -> ErrorKind:
    with pytest.raises(PlatformError) as caught:
        authenticate(secret, address=address, fresh=fresh)
    return caught.value.kind


def test_a_caller_is_what_its_rows_say(acme: Customer, globex: Customer) -> None:
    caller = authenticate(acme.secret, address=HERE)
    assert (caller.tenant_id, caller.tenant_slug, caller.tenant_name) == (acme.tenant.pk, "acme", "Acme")
    assert (caller.key_uid, caller.key_name, caller.mode) == (acme.key.uid, "Production", "live")
    assert (caller.tenant_version, caller.key_version) == (1, 1)
    assert caller.shard == tenancy.shard_of("acme")
    assert authenticate(globex.secret, address=HERE).tenant_id == globex.tenant.pk


def test_a_known_caller_costs_no_query_for_thirty_seconds_and_then_one(
    acme: Customer, django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: start)
    with django_assert_num_queries(1):
        first = authenticate(acme.secret, address=HERE)
    monkeypatch.setattr(clock, "monotonic", lambda: start + settings.CALLER_CACHE_S - 0.001)
    with django_assert_num_queries(0):
        assert authenticate(acme.secret, address=HERE) is first
    assert settings.CALLER_CACHE_S == 30
    monkeypatch.setattr(clock, "monotonic", lambda: start + settings.CALLER_CACHE_S)
    assert authentication.cached(acme.secret) is None
    with django_assert_num_queries(1):
        assert authenticate(acme.secret, address=HERE) == first


def test_a_fresh_caller_is_read_and_remembered(acme: Customer) -> None:
    authenticate(acme.secret, address=HERE)
    ApiKey.objects.filter(pk=acme.key.pk).update(scopes=["batch"], version=2)
    assert authenticate(acme.secret, address=HERE).key_version == 1
    fresh = authenticate(acme.secret, address=HERE, fresh=True)
    assert (fresh.key_version, fresh.scopes) == (2, frozenset({"batch"}))
    assert authenticate(acme.secret, address=HERE) is fresh


def test_a_refused_key_is_forgotten(acme: Customer) -> None:
    authenticate(acme.secret, address=HERE)
    api_keys.revoke(key=acme.key)
    assert kind_of_refusal(acme.secret, fresh=True) is ErrorKind.UNAUTHENTICATED
    assert authentication.cached(acme.secret) is None
    assert kind_of_refusal(acme.secret) is ErrorKind.UNAUTHENTICATED


def test_the_memory_is_bounded(acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication.known_callers, "most", 3)
    secrets = [api_keys.issue(tenant=acme.tenant, name=f"Key {number}").secret for number in range(5)]
    for secret in secrets:
        authenticate(secret, address=HERE)
    assert [authentication.cached(secret) is not None for secret in secrets] == [False, False, True, True, True]


def test_a_key_and_a_secret_end_when_they_expire_even_in_memory(
    acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = clock.now() + dt.timedelta(hours=1)
    issued = api_keys.issue(tenant=acme.tenant, name="Short", expires_at=end)
    api_keys.rotate(key=issued.key, overlap=dt.timedelta(minutes=30))
    caller = authenticate(issued.secret, address=HERE)
    assert caller.valid_until is not None
    assert caller.valid_until < end, "the secret ends before the key"
    for moment, works in ((caller.valid_until - dt.timedelta(seconds=1), True), (caller.valid_until, False)):
        monkeypatch.setattr(clock, "now", lambda moment=moment: moment)
        if works:
            assert authenticate(issued.secret, address=HERE) is caller
        else:
            assert kind_of_refusal(issued.secret) is ErrorKind.UNAUTHENTICATED
            assert kind_of_refusal(issued.secret, fresh=True) is ErrorKind.UNAUTHENTICATED


def test_a_key_that_expires_ends_all_its_secrets(acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    end = clock.now() + dt.timedelta(hours=1)
    issued = api_keys.issue(tenant=acme.tenant, name="Short", expires_at=end)
    rotated = api_keys.rotate(key=issued.key, overlap=dt.timedelta(days=2))
    monkeypatch.setattr(clock, "now", lambda: end)
    for secret in (issued.secret, rotated.secret):
        assert kind_of_refusal(secret) is ErrorKind.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("203.0.113.9", True),
        ("203.0.114.9", False),
        ("::ffff:203.0.113.9", True),
        ("2001:db8::9", True),
        ("2001:db9::9", False),
        ("somewhere", False),
        ("", False),
    ],
)
def test_a_key_works_only_from_its_networks(acme: Customer, address: str, allowed: bool) -> None:
    issued = api_keys.issue(tenant=acme.tenant, name="Office", allowed_cidrs=["203.0.113.0/24", "2001:db8::/32"])
    for _ in range(2):  # Read from the rows, then from memory.
        if allowed:
            authenticate(issued.secret, address=address)
        else:
            assert kind_of_refusal(issued.secret, address=address) is ErrorKind.FORBIDDEN


def test_a_suspended_tenant_is_refused_until_it_is_resumed(acme: Customer, globex: Customer) -> None:
    tenancy.suspend(tenant=acme.tenant)
    assert kind_of_refusal(acme.secret) is ErrorKind.FORBIDDEN
    authenticate(globex.secret, address=HERE)
    tenancy.resume(tenant=acme.tenant)
    assert authenticate(acme.secret, address=HERE).tenant_version == 3


@pytest.mark.parametrize("secret", ["", "\ud800", "é" * 40, "x" * 100_000, "mlp_live_\x00"])
def test_any_text_is_refused_and_nothing_else_happens(secret: str) -> None:
    assert kind_of_refusal(secret) is ErrorKind.UNAUTHENTICATED


def test_an_unknown_secret_costs_one_look_up_in_five_seconds_and_a_revoked_one_too(
    acme: Customer, django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: start)
    head = f"mlp_live_{ids.base62_token(22)}"
    unknown = f"{head}_{ids.base62_checksum(head, 6)}"
    revoked = api_keys.issue(tenant=acme.tenant, name="Old")
    api_keys.revoke(key=revoked.key)
    for secret in (unknown, revoked.secret):
        with django_assert_num_queries(1):
            assert kind_of_refusal(secret) is ErrorKind.UNAUTHENTICATED
            assert kind_of_refusal(secret) is ErrorKind.UNAUTHENTICATED
    with django_assert_num_queries(0):
        assert kind_of_refusal(unknown[:-1]) is ErrorKind.UNAUTHENTICATED
    monkeypatch.setattr(clock, "monotonic", lambda: start + 5)
    with django_assert_num_queries(2):
        assert kind_of_refusal(unknown) is ErrorKind.UNAUTHENTICATED
        assert kind_of_refusal(unknown, fresh=True) is ErrorKind.UNAUTHENTICATED


def test_the_memory_of_refused_secrets_is_bounded(
    db: None, django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication.refused_secrets, "most", 2)
    heads = [f"mlp_live_{ids.base62_token(22)}" for _ in range(3)]
    guesses = [f"{head}_{ids.base62_checksum(head, 6)}" for head in heads]
    for guess in guesses:
        kind_of_refusal(guess)
    with django_assert_num_queries(1):
        for guess in reversed(guesses):
            kind_of_refusal(guess)
