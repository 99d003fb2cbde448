"""Items come in, and are embedded on their way: predictions of the tenant's own call, charged as any batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from django.db import transaction

from billing.admission import Decision
from billing.models import Operation
from inference.models import Item
from inference.recommendations.audience import Kept, too_many
from inference.recommendations.embedding import Embedded, embed, embedder, name_of, text_of
from inference.recommendations.entries import ItemEntry
from inference.recommendations.quoting import Quote, quote
from inference.types import CallContext, TextLength
from mlplatform.lib import clock
from tenants.authentication import Caller
from tenants.models import Tenant

MAX_ITEMS: Final = 20_000
"""Items of one tenant."""

_Text = tuple[str, str, list[str]]


@dataclass(frozen=True, slots=True)
class KeptItems:
    """What a call did, how many texts were embedded for which units, and the limits after it (None: none was embedded).

    ``quote`` is what the call could cost at most, and what a recommendation costs after it. ``truncated`` has for each entry
    the length of a text that was embedded now and is longer than the model reads.
    """

    kept: Kept
    embedded: int
    units: int
    decision: Decision | None
    quote: Quote
    truncated: tuple[TextLength | None, ...] = ()


def upsert_items(
    caller: Caller, *, entries: Sequence[ItemEntry], context: CallContext, dry_run: bool = False
) -> KeptItems:
    """Keep every item as the entry has it; those that are there are replaced.

    Items whose text is new are embedded first, in one batch of the caller; when that is refused or fails, its problem is
    raised and nothing is kept. A text that is there as it was, but embedded by another model version or not yet, is embedded
    at the platform's expense. ``dry_run`` tells what would be done, and does nothing. Raises CONFLICT where there are too many.
    """
    known = _known(caller.tenant_id, entries)
    created = len(entries) - len(known)
    count = _require_room(caller.tenant_id, created)
    present = name_of(embedder())
    same: list[ItemEntry] = []
    new: list[ItemEntry] = []
    for entry in entries:
        is_there = entry.external_id in known and known[entry.external_id][0] == _text(entry)
        (same if is_there else new).append(entry)
    quoted = quote(new_texts=len(new), items=count + created)
    if dry_run:
        return KeptItems(Kept(created, len(known)), 0, 0, None, quoted)
    stale = [entry for entry in same if known[entry.external_id][1] != present]
    found, units, decision = _embedded(caller, new, context)
    # After what may be refused: whatever the platform gives is given once.
    given, _, _ = _embedded(caller, stale, replace(context, free=True))
    made = {**given, **found}
    kept = _keep(caller.tenant_id, entries, made)
    embedded = (made.get(entry.external_id) for entry in entries)
    truncated = tuple(one.truncated if one is not None else None for one in embedded)
    return KeptItems(kept, len(made), units, decision, quoted, truncated)


def _embedded(
    caller: Caller, entries: Sequence[ItemEntry], context: CallContext
) -> tuple[dict[str, Embedded], int, Decision | None]:
    made = embed(
        caller,
        [text_of(entry.title, entry.description, entry.categories) for entry in entries],
        replace(context, operation=Operation.BATCH.value),
        paths=[entry.path for entry in entries],
    )
    return (
        {entry.external_id: one for entry, one in zip(entries, made.found, strict=True)},
        made.units,
        made.decision,
    )


@transaction.atomic
def _keep(tenant_id: int, entries: Sequence[ItemEntry], made: Mapping[str, Embedded]) -> Kept:
    # The tenant's row is locked, so that calls at the same time cannot together bring more items than there is room for.
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)
    ids = [entry.external_id for entry in entries]
    # Locked in the order in which likes lock them, so that two calls cannot wait for each other's rows.
    rows_there = Item.objects.select_for_update(no_key=True).filter(tenant_id=tenant_id, external_id__in=ids)
    there = {row.external_id: row for row in rows_there.order_by("pk")}
    _require_room(tenant_id, len(ids) - len(there))
    now = clock.now()
    rows = []
    for entry in entries:
        embedding, by = _embedding(entry, made.get(entry.external_id), there.get(entry.external_id))
        title, description, categories = _text(entry)
        rows.append(
            Item(
                tenant_id=tenant_id,
                external_id=entry.external_id,
                title=title,
                description=description,
                categories=categories,
                embedding=embedding,
                embedded_by=by,
                created_at=now,
                updated_at=now,
            )
        )
    Item.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["tenant", "external_id"],
        update_fields=["title", "description", "categories", "embedding", "embedded_by", "updated_at"],
    )
    return Kept(len(ids) - len(there), len(there))


def _embedding(entry: ItemEntry, made: Embedded | None, row: Item | None) -> tuple[bytes | None, str]:
    """What was made now, else what the row has; nothing where another call has changed its text in the meantime."""
    if made is not None:
        return made.vector, made.by
    if row is not None and row.embedding is not None and (row.title, row.description, row.categories) == _text(entry):
        return bytes(row.embedding), row.embedded_by
    return None, ""


def _known(tenant_id: int, entries: Sequence[ItemEntry]) -> dict[str, tuple[_Text, str]]:
    """Text and model version of the items that are there."""
    rows = Item.objects.filter(tenant_id=tenant_id, external_id__in=[entry.external_id for entry in entries])
    found = rows.values_list("external_id", "title", "description", "categories", "embedded_by")
    return {one: ((title, description, categories), by) for one, title, description, categories, by in found}


def _text(entry: ItemEntry) -> _Text:
    return entry.title, entry.description, list(entry.categories)


def _require_room(tenant_id: int, new: int) -> int:
    """How many items there are. Raises CONFLICT where so many new ones are too many."""
    count = Item.objects.filter(tenant_id=tenant_id).count()
    if new > 0 and count + new > MAX_ITEMS:
        raise too_many("items", MAX_ITEMS)
    return count
