"""Answers that the cache Redis keeps, as the event loop asks for them."""

from collections.abc import Callable, Sequence
from typing import Any

from inference.cache import links, store
from inference.cache.store import Entry
from mlplatform.lib.redis_link import Answers


def fetch(keys: Sequence[bytes], done: Callable[[list[Entry | None]], None]) -> None:
    """``done`` gets the entry of each key, which this process keeps too from then on, or None; in one round trip. A cache that
    does not answer has nothing."""

    def fetched(answers: Answers | Exception) -> None:
        found: Any = answers if isinstance(answers, Exception) else answers[0]
        if isinstance(found, Exception):
            store.failed("get")
            done([None] * len(keys))
            return
        entries = [store.received(value) for value in found]
        for key, entry in zip(keys, entries, strict=True):
            if entry is not None:
                store.local.put(key, entry)
        done(entries)

    links.ask(["MGET", *[store.ENTRY + key for key in keys]], fetched)
