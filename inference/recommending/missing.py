"""Items without an embedding by the present model version: made up for when they are needed, and kept from then on.

So it is after the embedding model was promoted, and for items that did not come in by a call. The embeddings are predictions
of the call that needs them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from billing.admission import Decision
from inference.models import Item
from inference.recommending.catalogue import Row
from inference.recommending.embedding import Embedded, Embeddings, embed, text_of
from inference.types import CallContext
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import Caller


@dataclass(frozen=True, slots=True)
class FilledIn:
    """How many items were embedded for which units, and the limits after it (None: none was)."""

    items: int
    units: int
    decision: Decision | None


def fill_in(
    caller: Caller, rows: Mapping[int, Row], needed: Iterable[int], context: CallContext, *, embedded_by: str
) -> FilledIn:
    """Embed those of ``needed`` that have no vector, and set it in ``rows`` and in SQL.

    At most a batch of them, the first ones, and fewer where a limit can never let so many through; the others wait for
    the next call. Raises the problem of the predictions otherwise.
    """
    without = [pk for pk in needed if pk in rows and rows[pk].vector is None][: settings.MAX_BATCH_REQUESTS]
    if not without:
        return FilledIn(0, 0, None)
    found = {
        item.pk: item for item in Item.objects.filter(tenant_id=caller.tenant_id, pk__in=without).defer("embedding")
    }
    items = [found[pk] for pk in without if pk in found]
    made = _as_many_as_fit(caller, [text_of(item.title, item.description, item.categories) for item in items], context)
    pairs = list(zip(items, made.found, strict=False))
    _keep(pairs)
    for item, one in pairs:
        # A version that was promoted this very moment is not mixed with the vectors at hand.
        rows[item.pk].vector = one.vector if one.by == embedded_by else None
    return FilledIn(len(pairs), made.units, made.decision)


def _as_many_as_fit(caller: Caller, texts: list[str], context: CallContext) -> Embeddings:
    """The first of the texts: all of them, or half as often as it takes to be no larger than the limits."""
    while True:
        try:
            return embed(caller, texts, context)
        except PlatformError as refusal:
            if refusal.kind is not ErrorKind.CHARGE_TOO_LARGE or len(texts) < 2:
                raise
            texts = texts[: len(texts) // 2]


@transaction.atomic
def _keep(pairs: Iterable[tuple[Item, Embedded]]) -> None:
    # In one order for all that lock many rows, so that two calls cannot wait for each other's.
    for item, one in sorted(pairs, key=lambda pair: pair[0].pk):
        # Only while the row is the one whose text was embedded.
        Item.objects.filter(pk=item.pk, updated_at=item.updated_at).update(embedding=one.vector, embedded_by=one.by)
