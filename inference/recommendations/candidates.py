"""What may be recommended to whom: items that a user has not liked, and those that tell its taste. Few queries, whatever the
number of users."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from inference.models import EndUser, Item, Like

MAX_CANDIDATES: Final = 2_048
"""Items that are scored for one user: of preferred categories first, the newest first."""

Basis = Literal["likes", "preferences", "newest"]


@dataclass(frozen=True, slots=True)
class Taste:
    """Rows of items by their keys: what tells the taste of a user, the newest first, and the candidates in their order.

    ``basis`` says where the taste comes from: from what the user ``likes``, else from the ``preferences`` (items of those
    categories); where there is neither, no taste is known, and the ``newest`` candidates have to do.
    """

    user: EndUser
    basis: Basis
    seeds: tuple[int, ...]
    candidates: tuple[int, ...]


@dataclass(slots=True)
class Row:
    """An item as far as recommendations need it; a vector that another model version made is none."""

    pk: int
    external_id: str
    title: str
    categories: list[str]
    vector: bytes | None


@dataclass(slots=True)
class _Index:
    """All items of a tenant, the newest first, and which belong to a category."""

    pks: list[int]
    by_category: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


def tastes(users: Sequence[EndUser], *, tenant_id: int, seeds: int) -> Iterator[Taste]:
    """For each user, in order, at most ``seeds`` items that tell the taste, and at most MAX_CANDIDATES candidates.

    Likes and items are read at once, each taste is put together when it is asked for.
    """
    likes: dict[int, list[int]] = defaultdict(list)
    liked = Like.objects.filter(user__in=[user.pk for user in users]).order_by("-pk")
    for user_pk, item_pk in liked.values_list("user_id", "item_id"):
        likes[user_pk].append(item_pk)
    index = _index(tenant_id, by_category=any(user.categories for user in users))
    return (_taste(user, likes[user.pk], index, seeds) for user in users)


def rows(pks: Collection[int], *, tenant_id: int, embedded_by: str) -> dict[int, Row]:
    """The items by their keys."""
    found = Item.objects.filter(tenant_id=tenant_id, pk__in=pks)
    values = found.values_list("pk", "external_id", "title", "categories", "embedding", "embedded_by")
    return {
        pk: Row(pk, external_id, title, categories, bytes(vector) if vector is not None and by == embedded_by else None)
        for pk, external_id, title, categories, vector, by in values.iterator()
    }


def _index(tenant_id: int, *, by_category: bool) -> _Index:
    newest = Item.objects.filter(tenant_id=tenant_id).order_by("-pk")
    if not by_category:
        return _Index(list(newest.values_list("pk", flat=True)))
    index = _Index([])
    for pk, categories in newest.values_list("pk", "categories"):
        index.pks.append(pk)
        for name in categories:
            index.by_category[name].append(pk)
    return index


def _taste(user: EndUser, liked: Sequence[int], index: _Index, seeds: int) -> Taste:
    preferred = _newest(pk for name in user.categories for pk in index.by_category.get(name, ()))
    known = set(liked)
    candidates: dict[int, None] = {}
    for pk in (*preferred, *index.pks):
        if pk not in known:
            candidates[pk] = None
            if len(candidates) == MAX_CANDIDATES:
                break
    basis: Basis = "likes" if liked else "preferences" if preferred else "newest"
    return Taste(user, basis, tuple((liked or preferred)[:seeds]), tuple(candidates))


def _newest(pks: Iterable[int]) -> list[int]:
    return sorted(set(pks), reverse=True)
