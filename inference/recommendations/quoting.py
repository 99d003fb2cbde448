"""What items and recommendations will cost, before they do: the most of it, by the prices of now."""

from dataclasses import dataclass

from billing import pricing
from billing.models import Operation
from inference.recommendations.candidates import MAX_CANDIDATES
from inference.recommendations.embedding import EMBEDDER
from inference.recommendations.forms import RECOMMENDER
from inference.registry import versions
from mlplatform.lib.errors import ErrorKind, PlatformError


@dataclass(frozen=True, slots=True)
class Quote:
    """Units at most: of embedding the new texts of a call, and of a recommendation for one user with the items after it.

    ``recommendation_units`` is None where no recommender is live.
    """

    embedding_units: int
    recommendation_units: int | None


def quote(*, new_texts: int, items: int) -> Quote:
    """For a call that brings so many new texts, and a catalogue of so many ``items`` after it."""
    return Quote(embedding(new_texts), recommendation(items))


def embedding(texts: int) -> int:
    """The fee of a batch and the price of each text, none in the cache; nothing for no text."""
    if not texts:
        return 0
    return pricing.quote(operation=Operation.BATCH.value, model=EMBEDDER, inputs=texts).total


def recommendation(items: int) -> int | None:
    """One call for one user who has liked none of the items that it looks at."""
    try:
        candidates = versions.resolve(RECOMMENDER).outputs
    except PlatformError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            return None
        raise
    inputs = -(-min(items, MAX_CANDIDATES) // candidates)
    return pricing.quote(operation=Operation.PREDICT.value, model=RECOMMENDER, inputs=inputs).total if inputs else 0
