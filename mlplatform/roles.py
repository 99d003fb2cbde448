"""The roles of staff as groups, each with the permissions that its work needs and no other.

Superusers need no role. Only a superuser changes staff, roles or their permissions.
"""

from collections.abc import Mapping
from typing import Final

from django.contrib.auth.models import Group, Permission
from django.db import transaction

_SEEN_BY_ALL: Final = frozenset(
    {
        "tenants.view_tenant",
        "tenants.view_membership",
        "tenants.view_apikey",
        "tenants.view_trusteddocument",
        "tenants.view_apiversion",
        "tenants.view_deprecationschedule",
        "tenants.view_brownout",
        "tenants.view_extension",
        "billing.view_plan",
        "billing.view_limitrule",
        "billing.view_subscription",
        "billing.view_price",
        "billing.view_usagerollup",
        "billing.view_usagerecord",
        "inference.view_mlmodel",
        "inference.view_modelversion",
    }
)

ROLES: Final[Mapping[str, frozenset[str]]] = {
    # Helps customers: tenants, their people and keys. Sees contracts, models and usage, and alone of all roles the
    # customers' end users and what they like; changes none of them.
    "support": _SEEN_BY_ALL
    | {
        "tenants.add_tenant",
        "tenants.change_tenant",
        "tenants.add_membership",
        "tenants.change_membership",
        "tenants.delete_membership",
        "tenants.view_user",
        "tenants.add_user",
        "tenants.change_user",
        "tenants.add_apikey",
        "tenants.change_apikey",
        "inference.view_enduser",
        "inference.view_item",
        "tenants.add_trusteddocument",
        "tenants.change_trusteddocument",
        "tenants.delete_trusteddocument",
        "auditlog.view_logentry",
    },
    # Brings models and versions into service, and out of it: their ends, brownouts and extensions, and the API's.
    "models": _SEEN_BY_ALL
    | {
        f"tenants.{verb}_{model}"
        for verb in ("add", "change")
        for model in ("apiversion", "deprecationschedule", "brownout", "extension")
    }
    | {
        "inference.add_mlmodel",
        "inference.change_mlmodel",
        "inference.add_modelversion",
        "inference.change_modelversion",
    },
    # Sells: plans, limits, subscriptions and prices.
    "billing": _SEEN_BY_ALL
    | {
        f"billing.{verb}_{model}"
        for verb in ("add", "change", "delete")
        for model in ("plan", "limitrule", "subscription", "price")
    }
    | {"auditlog.view_logentry"},
}


@transaction.atomic
def sync() -> dict[str, int]:
    """Make each role hold exactly its permissions, and give their numbers. Doing it again changes nothing.

    Other groups are left alone. Raises LookupError when a permission does not exist, which means that migrations are
    missing: Django makes permissions when it has migrated.
    """
    numbers = {}
    for name, wanted in ROLES.items():
        group, _ = Group.objects.get_or_create(name=name)
        permissions = _permissions(wanted)
        group.permissions.set(permissions)
        numbers[name] = len(permissions)
    return numbers


def _permissions(wanted: frozenset[str]) -> list[Permission]:
    codenames = {name.partition(".")[2] for name in wanted}
    rows = Permission.objects.select_related("content_type").filter(codename__in=codenames)
    found = {f"{row.content_type.app_label}.{row.codename}": row for row in rows}
    missing = sorted(wanted - found.keys())
    if missing:
        raise LookupError(f"There is no permission {missing[0]}; run `manage.py migrate` first.")
    return [found[name] for name in sorted(wanted)]
