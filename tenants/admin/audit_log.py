"""The audit log: who changed what, before and after, when and from where. Read-only, and it never holds a secret."""

import datetime as dt
import json
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from auditlog.models import LogEntry
from django.contrib.admin import SimpleListFilter
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mlplatform.lib import dates
from tenants.admin import formats, history
from tenants.admin.kit import FactsAdmin, display
from tenants.models import User

if TYPE_CHECKING:
    from django.contrib.admin import DateFieldListFilter as RangeDateTimeFilter
else:
    from unfold.contrib.filters.admin import RangeDateTimeFilter

_ACTIONS: Final[dict[int, tuple[str, formats.Tone]]] = {
    LogEntry.Action.CREATE: ("Created", "success"),
    LogEntry.Action.UPDATE: ("Changed", "info"),
    LogEntry.Action.DELETE: ("Deleted", "danger"),
    LogEntry.Action.ACCESS: ("Seen", "neutral"),
}
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?(?:\+00:00)?")
_NEVER_SHOWN: Final = frozenset({"password", "sha256", "secret", "token"})
_SHOWN_FIELDS: Final = 3
_FOUND: Final = 1_000
"""Matches of a search that are shown, the newest; a narrower one has fewer."""


class AboutFilter(SimpleListFilter):
    """The history of one row, as the pages of rows link it; shown only then, so that it can be left."""

    title = "history of"
    parameter_name = history.PARAMETER

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        address = request.GET.get(self.parameter_name, "")
        row = history.row_at(address)
        return [(address, str(row))] if row is not None else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        row = history.row_at(self.value() or "")
        return queryset.filter(history.entries_about(row)) if row is not None else queryset.none()


def author(entry: LogEntry) -> str:
    """Who made the change: a person, a key, or the system."""
    if entry.actor is not None:
        return str(entry.actor)
    if key := (entry.additional_data or {}).get("api_key_name"):
        return f"the key {key} of {entry.additional_data.get('tenant', 'a tenant')}"
    return entry.actor_email or "the system"


def done(entry: LogEntry) -> str:
    """What was done, as the end of a sentence: ``created``."""
    return _ACTIONS[entry.action][0].lower()


def _about(word: str) -> Q:
    """Entries with the word in what was changed or in their author's e-mail address, or with it as a key or an address."""
    people = User.objects.filter(email__icontains=word).values("pk")
    about = Q(object_repr__icontains=word) | Q(actor__in=people) | Q(actor_email__icontains=word) | Q(object_pk=word)
    try:
        return about | Q(remote_addr=str(ip_address(word)))
    except ValueError:
        return about


class AuditLogAdmin(FactsAdmin[LogEntry]):
    """Registered by the roof in place of django-auditlog's own page."""

    list_display = ["when", "who", "did", "what", "fields_changed", "remote_addr"]
    list_display_links = ["when"]
    list_filter = [AboutFilter, ("timestamp", RangeDateTimeFilter), "action", "content_type"]
    list_before_template = "admin/history_of.html"
    list_select_related = ["actor", "content_type"]
    search_fields = ["object_repr"]  # that there is a search; get_search_results says of what
    search_help_text = "What was changed, a person's e-mail address, or an address"
    show_full_result_count = False
    fields = ("when_exactly", "who", "from_where", "did", "what_linked", "before_and_after")
    readonly_fields = fields

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        row = history.row_at(request.GET.get(history.PARAMETER, ""))
        if row is not None:
            page = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
            about = {"history_of": row, "history_url": reverse(page, args=[row.pk])}
            extra_context = {**(extra_context or {}), **about}
        return super().changelist_view(request, extra_context)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[LogEntry], search_term: str
    ) -> tuple[QuerySet[LogEntry], bool]:
        """The newest matches, found in one reading from the newest entry backwards, which ends when there are enough."""
        words = search_term.split()
        if not words:
            return queryset, False
        found = queryset.order_by("-pk")
        for word in words:
            found = found.filter(_about(word))
        newest = list(found.values_list("pk", flat=True)[:_FOUND])
        return queryset.filter(pk__in=newest), False

    @display(description="When", ordering="timestamp")
    def when(self, entry: LogEntry) -> SafeString:
        return formats.age(entry.timestamp)

    @display(description="When")
    def when_exactly(self, entry: LogEntry) -> str:
        return f"{dates.moment(entry.timestamp)} ({formats.words(entry.timestamp)})"

    @display(description="Who", ordering="actor__email")
    def who(self, entry: LogEntry) -> str:
        return author(entry)

    @display(description="From")
    def from_where(self, entry: LogEntry) -> str:
        return entry.remote_addr or "a process of the platform"

    @display(description="Did", ordering="action")
    def did(self, entry: LogEntry) -> SafeString:
        return formats.badge(*_ACTIONS[entry.action])

    @display(description="What", ordering="object_repr", header=True)
    def what(self, entry: LogEntry) -> list[str]:
        return [entry.object_repr, str(entry.content_type.name)]

    @display(description="What")
    def what_linked(self, entry: LogEntry) -> SafeString:
        name = f"{entry.content_type.name} {entry.object_repr}"
        try:
            address = reverse(
                f"admin:{entry.content_type.app_label}_{entry.content_type.model}_change", args=[entry.object_pk]
            )
        except NoReverseMatch:
            return format_html("{}", name)
        return format_html('<a class="p-link" href="{}">{}</a>', address, name)

    @display(description="Fields")
    def fields_changed(self, entry: LogEntry) -> str:
        if entry.action != LogEntry.Action.UPDATE:
            return ""  # all of them
        names = [row["field"] for row in changes(entry)]
        more = f" and {len(names) - _SHOWN_FIELDS} more" if len(names) > _SHOWN_FIELDS else ""
        return ", ".join(names[:_SHOWN_FIELDS]) + more

    @display(description="Before and after")
    def before_and_after(self, entry: LogEntry) -> SafeString:
        return SafeString(render_to_string("admin/audit_changes.html", {"changes": changes(entry)}))

    def has_view_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        return request.user.has_perm("auditlog.view_logentry")


def changes(entry: LogEntry) -> list[dict[str, str]]:
    """The changed fields with their values before and after, as text; fields that could hold a secret are left out.

    The registrations in each app's ``audit`` module leave secrets out already; this is the second of two locks.
    """
    rows = []
    for field, values in sorted((entry.changes_dict or {}).items()):
        if field in _NEVER_SHOWN:
            continue
        if isinstance(values, dict):  # a many-to-many field: {"type": "m2m", "operation": "add", "objects": […]}
            objects = ", ".join(map(str, values.get("objects", [])))
            gone = values.get("operation") == "delete"
            rows.append({"field": field, "before": objects if gone else "", "after": "" if gone else objects})
        else:
            before, after = [*values, "", ""][:2]
            rows.append({"field": field.replace("_", " "), "before": _text(before), "after": _text(after)})
    return rows


def _text(value: Any) -> str:
    if value in (None, "None", ""):
        return ""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if not _MOMENT.fullmatch(value):
        return value
    moment = dt.datetime.fromisoformat(value)
    # auditlog writes moments in UTC without saying so.
    return dates.exactly(moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC))
