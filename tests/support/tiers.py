"""Which tests ``make test-fast``, ``make test`` and ``make test-all`` run: the one place that decides it, a pytest plugin.

A test belongs to the first tier whose rule fits it:

* LAST, left to ``make test-all``: it opens a browser, starts the launcher, kills or stops processes of the shared product,
  or is a ``soak`` (minutes of the same). ``walk`` excepts a test: the tour through the started product stays in ``make test``.
* SECOND, run by ``make test``: it starts a process, loads a model, asks every face the same (``tests/parity``), or reads all
  documents.
* FIRST, run by ``make test-fast`` too: everything else.

Properties (Hypothesis) run in their tier with few examples and in ``make test-all`` with many: ``tests/support/examples.py``.
"""

from __future__ import annotations

import os
from enum import IntEnum
from typing import Any, Final

import pytest
from xdist.scheduler import LoadFileScheduling


class Tier(IntEnum):
    """How early a test is run while one works."""

    FIRST = 1
    SECOND = 2
    LAST = 3


_LAST_FOLDERS: Final = ("tests/browser/", "tests/processes/", "tests/run/test_product.py")
_SECOND_FOLDERS: Final = (
    "tests/bench/",
    "tests/inference/isolation/",
    "tests/inference/registry/packages/",
    "tests/inference/runtimes/",
    "tests/inference/demo/test_models.py",
    "tests/inference/worker/",
    "tests/mlplatform/docs/",
    "tests/parity/",
)
_FIXTURES_OF_MODELS: Final = frozenset({"demo_models", "live_worker", "models_dir", "tiny_worker"})

_LONGEST: Final = ("tests/processes/", "tests/run/", "tests/browser/", "tests/parity/")
_SAME_ON_BOTH: Final = (
    "tests/parity/",
    "tests/mlplatform/docs/",
    "tests/mlplatform/graphql/",
    "tests/inference/grpc/",
    "tests/inference/oip/",
    "tests/inference/openai/",
    "tests/inference/rest/test_bad_bodies.py",
    "tests/processes/test_serve_your_model.py",
    "tests/processes/test_two_workers.py",
)
"""Faces, and what processes do to each other: they reach SQL only through services whose own tests run on both."""
_PROCESSES_OF_SQL: Final = ("without_sql", "jobs_worker", "rehearsed", "promotions")
"""Of what processes do to each other, what SQL has a part in; killed workers and stopped Redis servers are the same on both."""
_FIXTURES_OF_SQL: Final = frozenset({"db", "transactional_db", "live_server", "stack"})


def tier_of(item: pytest.Item) -> Tier:
    """The tier of a test."""
    if item.get_closest_marker("walk") is not None:
        return Tier.SECOND
    if item.nodeid.startswith(_LAST_FOLDERS) or _has_marker(item, "browser", "soak"):
        return Tier.LAST
    if item.nodeid.startswith(_SECOND_FOLDERS) or _has_marker(item, "processes"):
        return Tier.SECOND
    return Tier.SECOND if _FIXTURES_OF_MODELS.intersection(_fixtures(item)) else Tier.FIRST


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--tier`` is for the targets of make; a path runs everything in it."""
    parser.addoption("--tier", choices=("fast", "test", "all"), help="what make test-fast, test or test-all runs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first; leave out what the target, or the database, has no need of."""
    items.sort(key=_turn)  # stable: within a file the order stays
    target: str | None = config.getoption("tier")
    on_postgres = bool(os.environ.get("TEST_DATABASE_URL"))
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        wanted = _is_of(target, item) and not (on_postgres and _is_repeated(item))
        (kept if wanted else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """A file to a worker, but all tests of processes to one: they share a running product, which takes long to start."""

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "tests/processes" if nodeid.startswith("tests/processes/") else str(super()._split_scope(nodeid))

    return Scheduling(config, log)


def _is_of(target: str | None, item: pytest.Item) -> bool:
    if target == "fast":
        return tier_of(item) is Tier.FIRST
    if target == "test":
        return tier_of(item) is not Tier.LAST
    if target == "all":
        return tier_of(item) is Tier.LAST or is_property(item)
    return True


def is_property(item: pytest.Item) -> bool:
    """Whether its examples are made up: Hypothesis finds the test, or a marker names it."""
    return hasattr(getattr(item, "obj", None), "hypothesis") or _has_marker(item, "property")


def _is_repeated(item: pytest.Item) -> bool:
    """Whether it would show on PostgreSQL what it has shown on SQLite: tests without SQL, browsers, faces."""
    uses_sql = item.get_closest_marker("django_db") is not None or bool(_FIXTURES_OF_SQL.intersection(_fixtures(item)))
    return (
        not uses_sql
        or item.get_closest_marker("browser") is not None
        or item.nodeid.startswith(_SAME_ON_BOTH)
        or (item.nodeid.startswith("tests/processes/") and not any(word in item.name for word in _PROCESSES_OF_SQL))
    )


def _has_marker(item: pytest.Item, *names: str) -> bool:
    return any(item.get_closest_marker(name) is not None for name in names)


def _fixtures(item: pytest.Item) -> list[str]:
    names: list[str] = getattr(item, "fixturenames", [])
    return names


def _turn(item: pytest.Item) -> int:
    return next((turn for turn, folder in enumerate(_LONGEST) if item.nodeid.startswith(folder)), len(_LONGEST))
