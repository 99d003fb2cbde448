"""A change of a key or tenant is noticed by every process at once, and only when it was committed."""

import pytest
from django.db import transaction
from prometheus_client import REGISTRY

from billing import admission, contracts
from billing.metering import ledger as metering_ledger
from mlplatform.lib import clock, redis
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import api_keys, authentication, guards, tenancy
from tenants.authentication import Caller, authenticate
from tenants.models import ApiKey, Tenant
from tests.conftest import Customer
from tests.support.redis_server import RedisServer
from tests.support.second_process import SecondProcess

HERE = "192.0.2.1"


def guard_of(customer: Customer) -> tuple[int | None, int | None]:
    """The versions of key and tenant that every process knows."""
    shard = customer.tenant.shard
    names = [guards.key_guard(shard, customer.key.uid), guards.tenant_guard(shard, customer.tenant.pk)]
    key, tenant = redis.state().mget(names)
    return None if key is None else int(key), None if tenant is None else int(tenant)


def ask(caller: Caller) -> None:
    """The look at the guards that each call takes."""
    contract = contracts.contract_of(caller)
    admission.peek(subject=contract.subject, limits=contract.limits, month_to_date=metering_ledger.month_to_date)


def is_stale(caller: Caller) -> bool:
    try:
        ask(caller)
    except guards.StaleCaller:
        return True
    return False


@pytest.mark.django_db(transaction=True)
def test_each_change_makes_callers_stale_and_a_fresh_one_is_not(acme: Customer, globex: Customer) -> None:
    outsider = authenticate(globex.secret, address=HERE)
    ask(outsider)

    def change_scopes() -> None:
        ApiKey.objects.filter(pk=acme.key.pk).update(scopes=["batch"])
        api_keys.changed(key=acme.key)

    def suspend_and_resume() -> None:
        tenancy.suspend(tenant=acme.tenant)
        tenancy.resume(tenant=acme.tenant)

    changes = (
        change_scopes,
        lambda: api_keys.rotate(key=acme.key),
        lambda: tenancy.changed(tenant=acme.tenant),
        suspend_and_resume,
    )
    caller = authenticate(acme.secret, address=HERE)
    for change in changes:
        ask(caller)
        change()
        assert is_stale(caller)
        caller = authenticate(acme.secret, address=HERE, fresh=True)
    endings = (
        (lambda: tenancy.suspend(tenant=acme.tenant), ErrorKind.FORBIDDEN),
        (lambda: api_keys.revoke(key=acme.key), ErrorKind.UNAUTHENTICATED),
    )
    for change, kind in endings:
        change()
        assert is_stale(caller)
        with pytest.raises(PlatformError) as caught:
            authenticate(acme.secret, address=HERE, fresh=True)
        assert caught.value.kind is kind
    assert caller.scopes == {"batch"}
    ask(outsider)


@pytest.mark.django_db(transaction=True)
def test_guards_are_written_at_commit_and_not_before(acme: Customer) -> None:
    caller = authenticate(acme.secret, address=HERE)
    ask(caller)
    assert guard_of(acme) == (1, 1)
    with transaction.atomic():
        api_keys.revoke(key=acme.key)
        tenancy.suspend(tenant=acme.tenant)
        assert guard_of(acme) == (1, 1)
    assert guard_of(acme) == (2, 2)


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_change_leaves_guards_and_rows(acme: Customer) -> None:
    caller = authenticate(acme.secret, address=HERE)
    ask(caller)
    with transaction.atomic():
        api_keys.revoke(key=acme.key)
        api_keys.rotate(key=api_keys.issue(tenant=acme.tenant, name="Other").key)
        tenancy.suspend(tenant=acme.tenant)
        transaction.set_rollback(True)
    assert guard_of(acme) == (1, 1)
    assert ApiKey.objects.get().version == 1
    assert Tenant.objects.get().version == 1
    ask(caller)
    assert authenticate(acme.secret, address=HERE, fresh=True) == caller


@pytest.mark.django_db(transaction=True)
def test_guards_end_as_those_of_the_admission_script_do(acme: Customer) -> None:
    api_keys.changed(key=acme.key)
    assert 0 < redis.state().ttl(guards.key_guard(acme.tenant.shard, acme.key.uid)) <= 86_400


@pytest.mark.django_db(transaction=True)
def test_with_redis_away_sql_says_revoked_and_a_parsed_caller_ends_in_thirty_seconds(
    acme: Customer,
    state_redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: start)
    caller = authenticate(acme.secret, address=HERE)
    ask(caller)
    failures = REGISTRY.get_sample_value("mlplatform_guard_write_failures_total") or 0
    state_redis.stop()
    api_keys.revoke(key=acme.key)
    assert ApiKey.objects.get(pk=acme.key.pk).revoked_at is not None
    assert REGISTRY.get_sample_value("mlplatform_guard_write_failures_total") == failures + 1
    assert "guards could not be written" in caplog.text
    with pytest.raises(PlatformError) as closed:
        ask(caller)
    assert closed.value.kind is ErrorKind.UNAVAILABLE, "while Redis is away, no call spends"
    state_redis.start()
    assert authenticate(acme.secret, address=HERE) is caller
    monkeypatch.setattr(clock, "monotonic", lambda: start + 30)
    with pytest.raises(PlatformError) as refused:
        authenticate(acme.secret, address=HERE)
    assert refused.value.kind is ErrorKind.UNAUTHENTICATED
    assert authentication.cached(acme.secret) is None


@pytest.mark.django_db(transaction=True)
def test_a_lost_guard_comes_back_with_the_next_caller(acme: Customer) -> None:
    api_keys.changed(key=acme.key)
    caller = authenticate(acme.secret, address=HERE, fresh=True)
    redis.state().flushall()
    ask(caller)
    assert guard_of(acme) == (2, 1)


OTHER = """
from billing import admission, contracts
from billing.metering import ledger as usage
from tenants.authentication import authenticate
from tenants.guards import StaleCaller
from mlplatform.lib.errors import PlatformError

secret = hear()
caller = authenticate(secret, address="192.0.2.1")
say(caller.key_version)
while hear():
    caller = authenticate(secret, address="192.0.2.1")
    contract = contracts.contract_of(caller)
    try:
        admission.peek(subject=contract.subject, limits=contract.limits, month_to_date=usage.month_to_date)
        say("answered")
    except StaleCaller:
        try:
            say(sorted(authenticate(secret, address="192.0.2.1", fresh=True).scopes))
        except PlatformError as error:
            say(error.kind)
"""


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_a_second_process_notices_each_change_with_its_next_call(acme: Customer) -> None:
    with SecondProcess(OTHER) as other:
        other.say(acme.secret)
        assert other.hear() == 1

        def next_call() -> object:
            other.say(True)
            return other.hear()

        assert next_call() == "answered"
        ApiKey.objects.filter(pk=acme.key.pk).update(scopes=["usage:read"])
        api_keys.changed(key=acme.key)
        assert next_call() == ["usage:read"]
        assert next_call() == "answered"
        tenancy.suspend(tenant=acme.tenant)
        assert next_call() == "forbidden"
        tenancy.resume(tenant=acme.tenant)
        assert next_call() == "answered"
        api_keys.revoke(key=acme.key)
        assert next_call() == "unauthenticated"
        other.say(False)
        assert other.wait() == 0
