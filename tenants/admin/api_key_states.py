"""Whether a key works: the badge in lists and the filter beside them."""

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from mlplatform.lib import clock, dates
from tenants.admin import formats
from tenants.models import ApiKey

if TYPE_CHECKING:
    from django.contrib.admin import SimpleListFilter as DropdownFilter
else:
    from unfold.contrib.filters.admin import DropdownFilter

SOON: Final = dt.timedelta(days=14)


def expiring(now: dt.datetime) -> Q:
    """Keys that work now and stop within 14 days."""
    return Q(revoked_at__isnull=True, expires_at__gt=now, expires_at__lte=now + SOON)


def state_badge(key: ApiKey) -> SafeString:
    """Revoked, expired, expiring within 14 days, or active."""
    now = clock.now()
    if key.revoked_at is not None:
        return formats.badge("Revoked", "danger", why=dates.moment(key.revoked_at))
    if key.expires_at is None:
        return formats.badge("Active", "success")
    why = dates.moment(key.expires_at)
    if key.expires_at <= now:
        return formats.badge("Expired", "danger", why=why)
    if key.expires_at <= now + SOON:
        return formats.badge(f"Expires {formats.words(key.expires_at)}", "warning", why=why)
    return formats.badge("Active", "success", why=f"until {why}")


class KeyStateFilter(DropdownFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("active", "Active"),
            ("soon", "Expires within 14 days"),
            ("expired", "Expired"),
            ("revoked", "Revoked"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        now = clock.now()
        match self.value():
            case "active":
                return queryset.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now), revoked_at__isnull=True)
            case "soon":
                return queryset.filter(expiring(now))
            case "expired":
                return queryset.filter(revoked_at__isnull=True, expires_at__lte=now)
            case "revoked":
                return queryset.filter(revoked_at__isnull=False)
            case _:
                return queryset
