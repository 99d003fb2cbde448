"""A clock that tests walk: no test sleeps. And changes that take effect without the commit that a test never makes."""

import datetime as dt
from collections.abc import Callable

import pytest

from mlplatform.lib import clock, snapshot

Walk = Callable[[dt.datetime], None]


@pytest.fixture
def walk(monkeypatch: pytest.MonkeyPatch) -> Walk:
    """``walk(moment)``: from now on it is this moment, for everything that asks ``mlplatform.lib.clock``."""

    def to(moment: dt.datetime) -> None:
        monkeypatch.setattr(clock, "now", lambda: moment)

    return to


@pytest.fixture
def published_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots are published when a service says so, as if each change had been committed then."""

    class Committed:
        @staticmethod
        def on_commit(work: Callable[[], None]) -> None:
            work()

    monkeypatch.setattr(snapshot, "transaction", Committed)
