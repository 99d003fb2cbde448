"""Items without an embedding by the present model version: made up for when they are needed, and kept from then on.

So it is after the embedding model was promoted, and for items that did not come in by a call. The customer has paid for its
texts when it sent them and has no part in the change, so the platform pays: a recommendation costs what it always costs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from django.conf import settings
from django.db import transaction

from inference.models import Item
from inference.recommendations.candidates import Row
from inference.recommendations.embedding import Embedded, embed, text_of
from inference.types import CallContext
from tenants.authentication import Caller


def fill_in(
    caller: Caller, rows: Mapping[int, Row], needed: Iterable[int], context: CallContext, *, embedded_by: str
) -> int:
    """Embed those of ``needed`` that have no vector, free of charge, and set it in ``rows`` and in SQL. Gives their number.

    At most a batch of them, the first ones; the others wait for the next call. Raises the problem of the predictions.
    """
    without = [pk for pk in needed if pk in rows and rows[pk].vector is None][: settings.MAX_BATCH_REQUESTS]
    if not without:
        return 0
    found = {
        item.pk: item for item in Item.objects.filter(tenant_id=caller.tenant_id, pk__in=without).defer("embedding")
    }
    items = [found[pk] for pk in without if pk in found]
    texts = [text_of(item.title, item.description, item.categories) for item in items]
    made = embed(caller, texts, replace(context, free=True))
    pairs = list(zip(items, made.found, strict=True))
    _keep(pairs)
    for item, one in pairs:
        # A version that was promoted this very moment is not mixed with the vectors at hand.
        rows[item.pk].vector = one.vector if one.by == embedded_by else None
    return len(pairs)


@transaction.atomic
def _keep(pairs: Iterable[tuple[Item, Embedded]]) -> None:
    # In one order for all that lock many rows, so that two calls cannot wait for each other's.
    for item, one in sorted(pairs, key=lambda pair: pair[0].pk):
        # Only while the row is the one whose text was embedded.
        Item.objects.filter(pk=item.pk, updated_at=item.updated_at).update(embedding=one.vector, embedded_by=one.by)
