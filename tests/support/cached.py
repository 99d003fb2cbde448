"""What the caches have, asked as the first stage of a wave does."""

from collections.abc import Sequence
from functools import partial

from inference.cache import remote, store
from inference.cache.store import Entry
from tests.support.on_loop import asked


def get_many(keys: Sequence[bytes]) -> dict[bytes, Entry]:
    """The answers at hand, by key."""
    found = {key: store.at_hand(key) for key in keys}
    missing = [key for key, entry in found.items() if entry is None]
    if missing:
        found |= zip(missing, asked(partial(remote.fetch, missing)), strict=True)
    return {key: entry for key, entry in found.items() if entry is not None}
