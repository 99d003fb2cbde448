"""A new customer in one step: the tenant with its plan, its owner and its first key."""

from dataclasses import dataclass

from django.db import transaction
from django.utils.text import slugify

from billing import contracts
from billing.models import Plan, Subscription
from mlplatform.lib.errors import invalid
from tenants import api_keys, password_links, tenancy
from tenants.api_keys import IssuedSecret
from tenants.models import Tenant, User

_MAX_SLUG = 63


@dataclass(frozen=True, slots=True)
class NewCustomer:
    """``invited`` says that the owner was new and is mailed a link to set a password."""

    tenant: Tenant
    owner: User | None
    invited: bool
    issued: IssuedSecret | None


@transaction.atomic
def create_customer(
    *,
    name: str,
    slug: str = "",
    owner_email: str = "",
    plan: Plan | None = None,
    key_name: str = "",
    created_by: User | None = None,
) -> NewCustomer:
    """Make all of it or nothing; what is empty is left out, but for the slug, which comes from the name then.

    Raises INVALID_INPUT that names the argument.
    """
    if not name.strip():
        raise invalid("name", "A customer needs a name.")
    slug = slug or slugify(name)[:_MAX_SLUG].strip("-")
    if not slug:
        raise invalid("slug", "Give a short name of letters and digits; this name has none.")
    owner, invited = None, False
    if owner_email:
        owner, invited = password_links.person(email=owner_email)
    tenant = tenancy.create(slug=slug, name=name.strip(), owner=owner)
    if plan is not None:
        contracts.subscription_changed(subscription=Subscription.objects.create(tenant=tenant, plan=plan))
    issued = api_keys.issue(tenant=tenant, name=key_name, created_by=created_by) if key_name else None
    return NewCustomer(tenant=tenant, owner=owner, invited=invited, issued=issued)
