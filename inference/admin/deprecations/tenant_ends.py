"""Which of the versions that end a tenant still calls: what ends for it, on its page."""

import datetime as dt
from collections.abc import Iterable

from django.db.models import Q, Sum
from django.urls import reverse

from billing.metering.version_use import LOOKED_BACK_DAYS
from billing.models import VersionUse
from mlplatform.lib import clock
from tenants.admin.tenant_page import End
from tenants.deprecations import catalogue
from tenants.deprecations.rules import Schedule
from tenants.models import SubjectKind


def ends_of(tenant_id: int) -> Iterable[End]:
    """Announced ends, with the tenant's own dates, of versions that it called in the last 30 days. At most one query."""
    now = clock.now()
    known = catalogue.current()
    planned = [version.schedule for version in known.api_versions.values()] + list(known.models.values())
    coming = [one for one in planned if one is not None and one.announce_at <= now < one.sunset_for(tenant_id)]
    if not coming:
        return
    calls = _calls(tenant_id, coming, first=now.date() - dt.timedelta(days=LOOKED_BACK_DAYS - 1))
    for schedule in coming:
        if schedule.subject in calls:
            count = calls[schedule.subject]
            link = reverse("admin:tenants_deprecationschedule_impact", args=[schedule.id])
            text = f"{schedule.subject} ends; {count:,} call{'' if count == 1 else 's'} in {LOOKED_BACK_DAYS} days"
            yield End(schedule.sunset_for(tenant_id), text, link)


def _calls(tenant_id: int, schedules: Iterable[Schedule], *, first: dt.date) -> dict[str, int]:
    """Calls of each subject that the tenant used."""
    of_apis = {one.subject for one in schedules if one.kind == SubjectKind.API_VERSION}
    of_models = {one.subject for one in schedules if one.kind == SubjectKind.MODEL_VERSION}
    models = {subject.partition("@")[0] for subject in of_models}
    rows = (
        VersionUse.objects.filter(Q(api_version__in=of_apis) | Q(model__in=models), tenant=tenant_id, day__gte=first)
        .order_by()
        .values_list("api_version", "model", "model_version")
        .annotate(total=Sum("calls"), of_version=Sum("version_calls"))
    )
    found: dict[str, int] = {}
    for api_version, model, version, total, of_version in rows:
        if api_version in of_apis and total:
            found[api_version] = found.get(api_version, 0) + total
        if f"{model}@{version}" in of_models and of_version:
            found[f"{model}@{version}"] = found.get(f"{model}@{version}", 0) + of_version
    return found
