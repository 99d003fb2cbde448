"""Filters of usage. None of them looks through the usage itself for its choices: that has millions of rows."""

from typing import TYPE_CHECKING, Any, Final

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from billing.metering import reports as usage_reports
from billing.models import Operation
from tenants import api_versions
from tenants.models import ApiKey

if TYPE_CHECKING:
    from django.contrib.admin import RelatedFieldListFilter as TenantFilter
    from django.contrib.admin import SimpleListFilter as DropdownFilter
    from django.core.paginator import Paginator as _Paginator

    Paginator = _Paginator[Any]
else:
    from django.core.paginator import Paginator
    from unfold.contrib.filters.admin import AutocompleteSelectFilter as TenantFilter
    from unfold.contrib.filters.admin import DropdownFilter

__all__ = [
    "MOST_COUNTED",
    "ApiVersionFilter",
    "BoundedPaginator",
    "KeyFilter",
    "ModelFilter",
    "OperationFilter",
    "TenantFilter",
]

TENANT: Final = "tenant__id__exact"
_MOST_KEYS: Final = 200
_NONE: Final = "-"
"""In the address: usage of no model, or of a face without API versions. An empty value would be no filter."""
MOST_COUNTED: Final = 10_000


class BoundedPaginator(Paginator):
    """Counts no further than 10,000: filters find older rows, and a count of millions takes a second."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by().values("pk")[:MOST_COUNTED].count())


class _ValueFilter(DropdownFilter):
    """Rows whose column ``parameter_name`` has the chosen value."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset.filter(**{str(self.parameter_name): "" if chosen == _NONE else chosen}) if chosen else queryset


class ModelFilter(_ValueFilter):
    """``model_names()`` of the admin are the choices: the roof knows them."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*((name, name) for name in model_admin.model_names()), (_NONE, usage_reports.NO_MODEL)]


class KeyFilter(_ValueFilter):
    """The keys of the tenant that is chosen; without a tenant there are too many to choose from."""

    title = "key"
    parameter_name = "key_uid"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        tenant, chosen = request.GET.get(TENANT, ""), request.GET.get(str(self.parameter_name), "")
        keys = ApiKey.objects.order_by("name", "pk")
        if tenant.isascii() and tenant.isdecimal():
            rows = keys.filter(tenant_id=int(tenant[:18]))
        else:
            rows = keys.filter(uid=chosen) if chosen else keys.none()
        found = [(uid, f"{name} ({uid})") for uid, name in rows.values_list("uid", "name")[:_MOST_KEYS]]
        if chosen and chosen not in dict(found):
            found.append((chosen, chosen))
        return found


class ApiVersionFilter(_ValueFilter):
    title = "API version"
    parameter_name = "api_version"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*((name, name) for name in api_versions.known()), (_NONE, "none: GraphQL, gRPC and others")]


class OperationFilter(_ValueFilter):
    title = "operation"
    parameter_name = "operation"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in Operation.choices]
