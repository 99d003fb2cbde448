"""Tenants are made once and keep their shard; suspending twice changes nothing."""

import pytest
from auditlog.models import LogEntry
from django.db import IntegrityError, transaction

from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import tenancy
from tenants.models import Membership, Role, Tenant, User
from tests.conftest import Customer


def test_a_tenant_is_made_with_its_owner(acme: Customer) -> None:
    assert Membership.objects.get(tenant=acme.tenant).role == Role.OWNER
    assert acme.tenant.shard == tenancy.shard_of("acme")
    assert 0 <= acme.tenant.shard < 64


def test_a_taken_slug_makes_nothing(acme: Customer) -> None:
    with pytest.raises(PlatformError) as caught:
        tenancy.create(slug="acme", name="Another", owner=acme.owner)
    assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID_INPUT, "slug")
    assert (Tenant.objects.count(), Membership.objects.count()) == (1, 1)


def test_a_slug_that_is_taken_in_the_same_moment_answers_alike(acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tenant.objects, "filter", lambda **_: Tenant.objects.none())
    with pytest.raises(PlatformError) as caught:
        tenancy.create(slug="acme", name="Another")
    assert caught.value.field == "slug"


def test_suspending_or_resuming_twice_changes_nothing(acme: Customer) -> None:
    tenancy.resume(tenant=acme.tenant)
    assert Tenant.objects.get().version == 1
    tenancy.suspend(tenant=acme.tenant)
    entries = LogEntry.objects.count()
    tenancy.suspend(tenant=acme.tenant)
    assert Tenant.objects.get().version == 2
    assert LogEntry.objects.count() == entries


def test_the_database_refuses_what_services_never_write(acme: Customer) -> None:
    for wrong in ({"shard": 64}, {"status": "frozen"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Tenant.objects.filter(pk=acme.tenant.pk).update(**wrong)
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.create(tenant=acme.tenant, user=acme.owner)
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create(email="OWNER@acme.example")


def test_people_are_known_by_their_address_without_case(acme: Customer) -> None:
    assert User.objects.get_by_natural_key("Owner@ACME.example") == acme.owner
    with pytest.raises(ValueError, match="needs an e-mail"):
        User.objects.create_user("")
    root = User.objects.create_superuser("Root@Example.com", "a good long password")
    assert (root.email, root.is_staff, root.is_superuser) == ("root@example.com", True, True)
    assert acme.owner.get_short_name() == "Owner"
    assert (root.get_full_name(), root.get_short_name()) == ("root@example.com", "root@example.com")
