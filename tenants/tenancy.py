"""Make, suspend and resume tenants."""

import zlib

from django.db import IntegrityError, transaction

from mlplatform.lib.errors import invalid
from tenants import guards
from tenants.models import Membership, Role, Tenant, TenantStatus, User
from tenants.models.tenant import SHARDS


def shard_of(slug: str) -> int:
    """The shard of a new tenant, 0 to 63; kept in its row, so that the rule may change for later tenants."""
    return zlib.crc32(slug.encode()) % SHARDS


@transaction.atomic
def create(*, slug: str, name: str, owner: User | None = None, default_model: str = "") -> Tenant:
    """Make a tenant and, if given, its owner's membership. Raises INVALID_INPUT when the slug is taken."""
    if Tenant.objects.filter(slug=slug).exists():
        raise invalid("slug", f"There is a tenant {slug!r} already.")
    try:
        with transaction.atomic():
            tenant = Tenant.objects.create(slug=slug, name=name, shard=shard_of(slug), default_model=default_model)
    except IntegrityError as error:
        # Another call took the slug since it was looked for.
        raise invalid("slug", f"There is a tenant {slug!r} already.") from error
    if owner is not None:
        Membership.objects.create(tenant=tenant, user=owner, role=Role.OWNER)
    return tenant


def suspend(*, tenant: Tenant) -> None:
    """Refuse every key of the tenant at once, on every process, until it is resumed."""
    _set_status(tenant, TenantStatus.SUSPENDED)


def resume(*, tenant: Tenant) -> None:
    """Let the tenant's keys work again."""
    _set_status(tenant, TenantStatus.ACTIVE)


def changed(*, tenant: Tenant) -> None:
    """To be called after a form saved the tenant's fields: every process reads them again."""
    guards.tenants_changed([tenant.pk])


@transaction.atomic
def _set_status(tenant: Tenant, status: TenantStatus) -> None:
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    if row.status != status:
        row.status = status
        row.save(update_fields=["status"])
        guards.tenants_changed([row.pk])
