"""Roles of staff: groups of permissions. ``manage.py sync_roles`` writes those that come with the product."""

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from tenants.admin import formats
from tenants.admin.kit import StaffAdmin, display


class RoleAdmin(StaffAdmin[Group]):
    """Registered by the roof in place of Django's own page."""

    list_display = ["name", "people", "permission_count"]
    search_fields = ["name"]
    ordering = ["name"]
    filter_horizontal = ["permissions"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        counts = {"n_people": Count("user", distinct=True), "n_permissions": Count("permissions", distinct=True)}
        return super().get_queryset(request).annotate(**counts)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "permissions":
            kwargs["queryset"] = Permission.objects.select_related("content_type")
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    @display(description="People", ordering="n_people")
    def people(self, group: Group) -> SafeString:
        return formats.number(group.n_people)  # type: ignore[attr-defined]  # annotated above

    @display(description="Permissions", ordering="n_permissions")
    def permission_count(self, group: Group) -> SafeString:
        return formats.number(group.n_permissions)  # type: ignore[attr-defined]  # annotated above
