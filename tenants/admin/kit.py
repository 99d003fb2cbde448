"""What every admin module builds on: unfold's classes with Django's types, and the habits of this admin.

Unfold ships no types, so type checkers see the Django classes from which its own are derived. An ``action`` names its
permissions by methods (``change`` is ``has_change_permission``), never as ``app.permission``: unfold's system check
looks those up in SQL, and the first ``migrate`` runs the checks before there is a table.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlencode

from auditlog.registry import auditlog
from django.contrib.admin.utils import unquote
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from tenants.admin import history

M = TypeVar("M", bound=models.Model)
F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin as _ModelAdmin
    from django.contrib.admin import TabularInline as _TabularInline
    from django.contrib.admin.options import InlineModelAdmin as _Inline
    from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
    from django.forms import ModelForm

    def action(
        *, description: str, permissions: Iterable[str], icon: str = ..., variant: Any = ..., url_path: str = ...
    ) -> Callable[[F], F]: ...

    def display(
        *, description: str, ordering: Any = ..., label: Any = ..., header: bool = ..., boolean: bool = ...
    ) -> Callable[[F], F]: ...

else:
    from django import forms
    from django.contrib.auth import admin as auth_admin
    from unfold.admin import ModelAdmin as _UnfoldModelAdmin
    from unfold.admin import TabularInline as _UnfoldTabularInline
    from unfold.decorators import action, display

    class _Subscriptable:
        def __class_getitem__(cls, _: Any) -> type:
            return cls

    class _ModelAdmin(_Subscriptable, _UnfoldModelAdmin):
        pass

    class _TabularInline(_Subscriptable, _UnfoldTabularInline):
        pass

    class DjangoUserAdmin(_Subscriptable, auth_admin.UserAdmin):
        pass

    class ModelForm(_Subscriptable, forms.ModelForm):
        pass


__all__ = [
    "DjangoUserAdmin",
    "FactsAdmin",
    "ModelForm",
    "StaffAdmin",
    "StaffTabularInline",
    "action",
    "display",
    "read_once",
]


def read_once(method: F) -> F:
    """For the value of a read-only field that asks the database: a page asks for it three times."""

    @wraps(method)
    def shown(self: Any, row: Any) -> Any:
        kept = row.__dict__.setdefault("_read_once", {})
        if method.__name__ not in kept:
            kept[method.__name__] = method(self, row)
        return kept[method.__name__]

    return cast(F, shown)


class StaffAdmin(_ModelAdmin[M]):
    """A page of rows that staff change. ``publish`` tells the other processes after every change."""

    list_fullwidth = True
    list_filter_submit = True
    warn_unsaved_form = True
    list_per_page = 50
    actions_row: Sequence[str] = ()
    actions_detail: Sequence[Any] = ()
    actions_list: Sequence[Any] = ()

    @property
    def add_words(self) -> str:
        """On the button that leads to the form of a new row."""
        return f"Add {self.opts.verbose_name}"

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The audit log of the row and of what belongs to it: it knows before and after, and changes from outside the admin."""
        if not (request.user.has_perm("auditlog.view_logentry") and auditlog.contains(self.model)):
            return super().history_view(request, object_id, extra_context)
        query = urlencode({history.PARAMETER: history.address_of(self.model, unquote(object_id))})
        return HttpResponseRedirect(f"{reverse('admin:auditlog_logentry_changelist')}?{query}")

    def get_actions(self, request: HttpRequest) -> Any:
        # Rows are deleted one at a time, on a page that shows what goes with them and may refuse.
        return {name: found for name, found in super().get_actions(request).items() if name != "delete_selected"}

    def publish(self, obj: M) -> None:
        """Called in the transaction of every save, after the related rows were saved too."""

    def publish_deleted(self, obj: M) -> None:
        """Called in the transaction of every deletion; ``obj`` has lost its primary key but not its other fields."""
        self.publish(obj)

    def save_related(self, request: HttpRequest, form: "ModelForm[M]", formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        self.publish(form.instance)

    def delete_model(self, request: HttpRequest, obj: M) -> None:
        super().delete_model(request, obj)
        self.publish_deleted(obj)


class FactsAdmin(StaffAdmin[M]):
    """A page of facts: they can be read, not added, changed or deleted."""

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False


if TYPE_CHECKING:

    class StaffTabularInline(_Inline[Any, Any]):
        """Related rows in a table below the form."""

else:

    class StaffTabularInline(_TabularInline):
        """Related rows in a table below the form."""

        extra = 0
        hide_title = True
