"""A tenant's end users, items and likes: kept, found and forgotten. Everything is looked for within one tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from django.db import models, transaction
from django.db.models import QuerySet

from inference.models import EndUser, Item, Like
from inference.recommendations.entries import LikeEntry, UserEntry
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid

MAX_USERS: Final = 1_000_000
"""End users of one tenant."""

Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a call in bulk did: rows that it made, and rows that were there already."""

    created: int
    updated: int


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows in the order of their ids, and the id after which the next page begins; empty on the last one."""

    rows: list[Row]
    next: str


# --- Look-ups -----------------------------------------------------------------------------------------------------------


def user(*, tenant_id: int, external_id: str) -> EndUser | None:
    """The tenant's end user."""
    return EndUser.objects.filter(tenant_id=tenant_id, external_id=external_id).first()


def users(*, tenant_id: int, external_ids: Sequence[str]) -> dict[str, EndUser]:
    """Those that exist of the tenant's end users, by their ids."""
    rows = EndUser.objects.filter(tenant_id=tenant_id, external_id__in=set(external_ids))
    return {row.external_id: row for row in rows}


def item(*, tenant_id: int, external_id: str) -> Item | None:
    """The tenant's item, without its embedding."""
    return _items(tenant_id).filter(external_id=external_id).first()


def user_page(*, tenant_id: int, after: str, limit: int) -> Page[EndUser]:
    """Users whose id comes after the given one; empty begins."""
    return _page(EndUser.objects.filter(tenant_id=tenant_id), "external_id", after, limit)


def item_page(*, tenant_id: int, after: str, limit: int) -> Page[Item]:
    """Items whose id comes after the given one; empty begins."""
    return _page(_items(tenant_id), "external_id", after, limit)


def like_page(*, user: EndUser, after: str, limit: int) -> Page[Like]:
    """A user's likes with their items, in the order of the items' ids."""
    likes = Like.objects.filter(user=user).select_related("item").defer("item__embedding", "item__description")
    return _page(likes, "item__external_id", after, limit)


def _items(tenant_id: int) -> "QuerySet[Item]":
    return Item.objects.filter(tenant_id=tenant_id).defer("embedding")


def _page(rows: "QuerySet[Row]", by: str, after: str, limit: int) -> Page[Row]:
    if after:
        rows = rows.filter(**{f"{by}__gt": after})
    found = list(rows.order_by(by)[: limit + 1])
    more = found[limit - 1 :] if len(found) > limit else []
    return Page(found[:limit], _value(more[0], by) if more else "")


def _value(row: Any, path: str) -> str:
    for name in path.split("__"):
        row = getattr(row, name)
    return str(row)


# --- Users --------------------------------------------------------------------------------------------------------------


def upsert_users(*, tenant_id: int, entries: Sequence[UserEntry]) -> Kept:
    """Keep every user as the entry has it; those that are there are replaced. Raises CONFLICT where there are too many."""
    now = clock.now()
    # New rows have no order but that of their ids; those that are there are locked in the order of all others.
    ordered = sorted(entries, key=lambda entry: entry.external_id)
    with transaction.atomic():
        known = EndUser.objects.filter(tenant_id=tenant_id)
        there = len(_locked(EndUser, tenant_id, {entry.external_id for entry in ordered}))
        created = len(ordered) - there
        if created and known.count() + created > MAX_USERS:
            raise too_many("end users", MAX_USERS)
        EndUser.objects.bulk_create(
            (
                EndUser(
                    tenant_id=tenant_id,
                    external_id=entry.external_id,
                    name=entry.name,
                    preferences={"categories": list(entry.categories)},
                    created_at=now,
                    updated_at=now,
                )
                for entry in ordered
            ),
            update_conflicts=True,
            unique_fields=["tenant", "external_id"],
            update_fields=["name", "preferences", "updated_at"],
        )
    return Kept(created, there)


def remove_user(*, tenant_id: int, external_id: str) -> None:
    """Forget a user and what it likes. Raises NOT_FOUND."""
    if not _removed(EndUser, tenant_id, external_id):
        raise no_user(external_id)


def remove_item(*, tenant_id: int, external_id: str) -> None:
    """Forget an item, its embedding and the likes of it. Raises NOT_FOUND."""
    if not _removed(Item, tenant_id, external_id):
        raise no_item(external_id)


def _removed(model: type[EndUser] | type[Item], tenant_id: int, external_id: str) -> bool:
    with transaction.atomic():
        # Locked before its likes are looked for, so that none is added between them and the row itself.
        locked = model._default_manager.select_for_update().filter(tenant_id=tenant_id, external_id=external_id)
        found = locked.values_list("pk", flat=True).first()
        if found is None:
            return False
        model._default_manager.filter(pk=found).delete()
    return True


# --- Likes --------------------------------------------------------------------------------------------------------------


def add_likes(*, tenant_id: int, entries: Sequence[LikeEntry]) -> Kept:
    """Remember likes; one that is known stays as it is. Raises INVALID_INPUT that names an unknown user or item."""
    with transaction.atomic():
        # Locked, so that no user is removed between the look and the like.
        users = _locked(EndUser, tenant_id, {entry.user_id for entry in entries})
        items = _locked(Item, tenant_id, {entry.item_id for entry in entries})
        pairs: dict[tuple[int, int], None] = {}
        for entry in entries:
            if entry.user_id not in users:
                raise invalid(f"{entry.path}user_id", f"This tenant has no end user {entry.user_id!r}.")
            if entry.item_id not in items:
                raise invalid(f"{entry.path}item_id", f"This tenant has no item {entry.item_id!r}.")
            pairs[users[entry.user_id], items[entry.item_id]] = None
        known = set(
            Like.objects.filter(user_id__in={user for user, _ in pairs}, item_id__in={item for _, item in pairs})
            .order_by()
            .values_list("user_id", "item_id")
        )
        new = [pair for pair in pairs if pair not in known]
        now = clock.now()
        Like.objects.bulk_create(
            [Like(user_id=user, item_id=item, at=now) for user, item in new], ignore_conflicts=True
        )
    return Kept(len(new), len(pairs) - len(new))


def remove_like(*, tenant_id: int, user_id: str, item_id: str) -> None:
    """Forget that a user likes an item. Raises NOT_FOUND."""
    mine = Like.objects.filter(user__tenant_id=tenant_id, user__external_id=user_id)
    deleted, _ = mine.filter(item__tenant_id=tenant_id, item__external_id=item_id).delete()
    if not deleted:
        raise PlatformError(
            ErrorKind.NOT_FOUND, f"This tenant has no end user {user_id!r} who likes an item {item_id!r}."
        )


def _locked(model: type[EndUser] | type[Item], tenant_id: int, ids: set[str]) -> dict[str, int]:
    rows = model._default_manager.select_for_update(no_key=True).filter(tenant_id=tenant_id, external_id__in=ids)
    # In one order for all that lock many rows, so that two calls cannot wait for each other's.
    return dict(rows.order_by("pk").values_list("external_id", "pk"))


# --- Problems -----------------------------------------------------------------------------------------------------------


def no_user(external_id: str) -> PlatformError:
    return PlatformError(ErrorKind.NOT_FOUND, f"This tenant has no end user {external_id!r}.")


def no_item(external_id: str) -> PlatformError:
    return PlatformError(ErrorKind.NOT_FOUND, f"This tenant has no item {external_id!r}.")


def too_many(what: str, most: int) -> PlatformError:
    return PlatformError(ErrorKind.CONFLICT, f"A tenant keeps at most {most:,} {what}; remove some first.")
