"""Tenants' end users and items, for questions of support: read here, and written by the tenants' own calls."""

from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from inference.models import EndUser, Item, Like
from tenants.admin import formats
from tenants.admin.kit import M, StaffAdmin, StaffTabularInline, display

if TYPE_CHECKING:
    from django.contrib.admin import RelatedFieldListFilter as RelatedDropdownFilter
else:
    from unfold.contrib.filters.admin import RelatedDropdownFilter


_LISTED: Final = 3
"""Categories of one row of a list; its own page has them all."""
_SHORT: Final = 48


class _Likes(StaffTabularInline):
    """Likes, the newest first, a page at a time."""

    model = Like
    can_delete = False
    ordering = ["-pk"]
    per_page = 20
    verbose_name_plural = "likes"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Likes have no page of their own: they are shown with the user and the item.
        return True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Like]:
        return (
            super().get_queryset(request).select_related("user", "item").defer("item__embedding", "item__description")
        )

    @display(description="When")
    def when(self, like: Like) -> SafeString:
        return formats.age(like.at)


class LikedItemsInline(_Likes):
    """What a user likes."""

    fields = ("liked", "when")
    readonly_fields = fields

    @display(description="Item")
    def liked(self, like: Like) -> SafeString:
        return _opened("item", like.item_id, like.item.title)


class LikedByInline(_Likes):
    """Who likes an item."""

    fields = ("liked_by", "when")
    readonly_fields = fields

    @display(description="End user")
    def liked_by(self, like: Like) -> SafeString:
        return _opened("enduser", like.user_id, like.user.name or like.user.external_id)


class _AudienceAdmin(StaffAdmin[M]):
    """Rows that tenants write. Staff read them, and who may can delete one, when a tenant asks for it."""

    list_filter = [("tenant", RelatedDropdownFilter)]
    list_select_related = ["tenant"]
    show_full_result_count = False
    ordering = ["-pk"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    @display(description="Updated", ordering="updated_at")
    def updated(self, row: Any) -> SafeString:
        return formats.age(row.updated_at)

    @display(description="Added", ordering="created_at")
    def added(self, row: Any) -> SafeString:
        return formats.age(row.created_at)

    @display(description="Categories")
    def some_categories(self, row: Any) -> SafeString:
        more = len(row.categories) - _LISTED
        listed = _categories(row.categories[:_LISTED])
        return listed if more <= 0 else format_html('{}<span class="p-subtle">and {} more</span>', listed, more)

    # Not to be sorted by: that would count the likes of every row of every tenant.
    @display(description="Likes")
    def likes_counted(self, row: Any) -> SafeString:
        return formats.number(row.likes_n)


@admin.register(EndUser)
class EndUserAdmin(_AudienceAdmin[EndUser]):
    list_display = ["named", "tenant", "some_categories", "likes_counted", "updated"]
    search_fields = ["=external_id", "name"]
    search_help_text = "The tenant's id in full, or a part of the name"
    fields = ("tenant", "external_id", "name", "prefers", "likes_counted", "added", "updated")
    readonly_fields = fields
    inlines = [LikedItemsInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[EndUser]:
        return super().get_queryset(request).annotate(likes_n=_likes_of("user"))

    @display(description="End user", ordering="name", header=True)
    def named(self, user: EndUser) -> list[str]:
        return _named(user.name, user.external_id)

    @display(description="Prefers")
    def prefers(self, user: EndUser) -> SafeString:
        return _categories(user.categories)


@admin.register(Item)
class ItemAdmin(_AudienceAdmin[Item]):
    list_display = ["named", "tenant", "some_categories", "likes_counted", "vector", "updated"]
    search_fields = ["=external_id", "title"]
    search_help_text = "The tenant's id in full, or a part of the title"
    fields = (
        "tenant",
        "external_id",
        "title",
        "description",
        "belongs_to",
        "likes_counted",
        "vector",
        "added",
        "updated",
    )
    readonly_fields = fields
    inlines = [LikedByInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Item]:
        return super().get_queryset(request).defer("embedding").annotate(likes_n=_likes_of("item"))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Item], search_term: str
    ) -> tuple[QuerySet[Item], bool]:
        """Titles are looked through in their index: the rows themselves carry descriptions and vectors, fifty times as much."""
        found, repeats = super().get_search_results(request, Item.objects.order_by(), search_term)
        return (queryset.filter(pk__in=found.values("pk")) if search_term else queryset), repeats

    @display(description="Item", ordering="title", header=True)
    def named(self, item: Item) -> list[str]:
        return _named(item.title, item.external_id)

    @display(description="Categories")
    def belongs_to(self, item: Item) -> SafeString:
        return _categories(item.categories)

    @display(description="Vector", ordering="embedded_by")
    def vector(self, item: Item) -> SafeString:
        if item.embedded_by:
            return formats.code(item.embedded_by)
        return formats.badge("none yet", "neutral", why="It is made by the next recommendation that looks at the item.")


def _likes_of(whose: str) -> Coalesce:
    """How many likes a row has, counted for the rows that are read: a join would count those of all before it sorts."""
    own = Like.objects.filter(**{whose: OuterRef("pk")}).order_by().values(whose)
    return Coalesce(Subquery(own.annotate(n=Count("pk")).values("n")), 0)


def _named(name: str, external_id: str) -> list[str]:
    """Both short enough for a row of a list, of which a tenant may have made 200 characters and 128."""
    return [Truncator(one).chars(_SHORT) for one in (name or external_id, external_id)]


def _categories(names: list[str]) -> SafeString:
    rows = ((name,) for name in names)
    return format_html_join("", '<span class="p-version">{}</span>', rows) or format_html(
        '<span class="p-subtle">{}</span>', "none"
    )


def _opened(model: str, pk: int, text: str) -> SafeString:
    address = reverse(f"admin:inference_{model}_change", args=[pk])
    return format_html('<a class="p-link" href="{}">{}</a>', address, text)
