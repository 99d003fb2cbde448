"""Long lists beside the ledger: audiences of tenants, and the audit log."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any, Final

from bench.pages import bulk
from bench.pages.size import Size
from bench.pages.world import World

_CATEGORIES: Final = ("news", "sports", "science", "travel", "food", "music", "films", "books")


def audiences(size: Size, world: World, *, now: dt.datetime) -> dict[str, int]:
    """End users, items and likes: half of them are those of the busiest tenant, the others are spread over all."""
    from inference.models import EndUser, Item, Like

    at = bulk.moment(now)
    first_user, first_item = bulk.next_id(EndUser), bulk.next_id(Item)

    def tenant(n: int) -> int:
        return world.tenants[0] if n % 2 else world.tenants[n % len(world.tenants)]

    def users() -> Iterator[tuple[Any, ...]]:
        for n in range(size.end_users):
            liked = json.dumps({"categories": [_CATEGORIES[(n + k) % 8] for k in range(3)]})
            yield first_user + n, tenant(n), f"user-{n}", f"Reader {n}", liked, at, at

    def items() -> Iterator[tuple[Any, ...]]:
        for n in range(size.items):
            categories = json.dumps([_CATEGORIES[n % 8], _CATEGORIES[n % 5]])
            yield (
                first_item + n,
                tenant(n),
                f"item-{n}",
                f"Story {n}",
                "A story. " * 20,
                categories,
                b"\x00" * 1536,
                "minilm@1.0.0",
                at,
                at,
            )

    def likes() -> Iterator[tuple[Any, ...]]:
        # Users and items of one parity are of one tenant or of all; each user likes as many items in a row.
        each = max(1, size.likes // size.end_users)
        for n in range(size.end_users):
            for k in range(each):
                yield first_user + n, first_item + (n + 2 * k * 997) % size.items, at

    columns = ["id", "tenant_id", "external_id"]
    with bulk.without_indexes(EndUser, Item, Like):
        return {
            "end users": bulk.insert(EndUser, [*columns, "name", "preferences", "created_at", "updated_at"], users()),
            "items": bulk.insert(
                Item,
                [
                    *columns,
                    "title",
                    "description",
                    "categories",
                    "embedding",
                    "embedded_by",
                    "created_at",
                    "updated_at",
                ],
                items(),
            ),
            "likes": bulk.insert(Like, ["user_id", "item_id", "at"], likes()),
        }


def audit_log(size: Size, world: World, *, now: dt.datetime) -> dict[str, int]:
    """Changes of tenants by staff and by programs, one every few minutes of the year."""
    from auditlog.models import LogEntry
    from django.contrib.contenttypes.models import ContentType

    from tenants.models import Tenant, User

    kind = ContentType.objects.get_for_model(Tenant).pk
    staff = list(User.objects.values_list("pk", "email")[:5])
    step = dt.timedelta(days=365) / max(1, size.audited)

    def rows() -> Iterator[tuple[Any, ...]]:
        for n in range(size.audited):
            pk = world.tenants[n % len(world.tenants)]
            actor, email = staff[n % len(staff)]
            changes = json.dumps({"name": [f"Customer {n}", f"Customer {n + 1}"], "status": ["active", "suspended"]})
            yield (
                kind, str(pk), pk, f"Customer {n % 500:03}", 1, "", changes, actor, "127.0.0.1",
                bulk.moment(now - (size.audited - n) * step), email,
            )  # fmt: skip

    columns = (
        "content_type_id", "object_pk", "object_id", "object_repr", "action", "changes_text", "changes", "actor_id",
        "remote_addr", "timestamp", "actor_email",
    )  # fmt: skip
    with bulk.without_indexes(LogEntry):
        return {"audit log": bulk.insert(LogEntry, columns, rows())}
