"""What caches did in the last 30 days, for the pages of tenants and models."""

import datetime as dt
from typing import Final

from django.db.models import QuerySet, Sum
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing.models import UsageRollup
from mlplatform.lib import clock
from tenants.admin import formats

DAYS: Final = 30
TITLE: Final = f"Cache, {DAYS} days"


def of_tenant(tenant_id: int) -> SafeString:
    """How many of the tenant's inputs a cache answered, and the units that it saved."""
    return _told(UsageRollup.objects.filter(tenant_id=tenant_id))


def of_model(name: str) -> SafeString:
    """The same for a model, over all tenants."""
    return _told(UsageRollup.objects.filter(model=name))


def _told(rows: QuerySet[UsageRollup]) -> SafeString:
    since = (clock.now() - dt.timedelta(days=DAYS)).date()
    sums = rows.filter(day__gt=since).aggregate(
        inputs=Sum("inputs", default=0), cached=Sum("cached_inputs", default=0), saved=Sum("saved_units", default=0)
    )
    if not sums["inputs"]:
        return format_html('<span class="p-subtle">{}</span>', "No inputs yet.")
    return format_html(
        "<strong>{}</strong> of {} inputs came from a cache, which saved {} units",
        formats.share(sums["cached"], sums["inputs"]),
        f"{sums['inputs']:,}",
        f"{sums['saved']:,}",
    )
