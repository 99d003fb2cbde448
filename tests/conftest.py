"""The named cast of the tests, and what every test starts from: empty Redis servers and empty in-process caches."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from pytest_django import Settings
from xdist.scheduler import LoadFileScheduling

from billing import contracts, pricing
from billing.models import LimitKind, LimitRule, Plan, Price, Subscription
from inference.deprecations.samples import store as samples
from inference.engine import computing
from inference.engine.permits import permits
from inference.inputs import pixel_budget
from inference.registry import versions
from inference.trials import counting, shadow
from mlplatform.graphql.documents import documents
from mlplatform.lib import background
from mlplatform.observability import traffic
from tenants import api_keys, authentication, tenancy, trusted_documents
from tenants.deprecations import catalogue
from tenants.models import ApiKey, Tenant, User
from tenants.scopes import SCOPES
from tests.support import environment, holding
from tests.support.redis_server import RedisServer

# How long an example takes depends on who else uses the machine, and says nothing about the product.
hypothesis_settings.register_profile("suite", deadline=None, derandomize="CI" in os.environ)
hypothesis_settings.load_profile("suite")


_LONGEST = ("tests/processes/", "tests/run/", "tests/browser/")
_SAME_ON_BOTH = (
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
_PROCESSES_OF_SQL = ("without_sql", "jobs_worker", "rehearsed", "promotions")
"""Of what processes do to each other, what SQL has a part in; killed workers and stopped Redis servers are the same on both."""
_OF_SQL = frozenset({"db", "transactional_db", "live_server", "stack"})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first. On PostgreSQL, leave out what would only be done a second time: tests that touch no SQL, those of
    browsers, and those of faces."""
    items.sort(key=_turn)  # stable: within a file the order stays
    if not os.environ.get("TEST_DATABASE_URL"):
        return
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        uses_sql = item.get_closest_marker("django_db") is not None or bool(
            _OF_SQL.intersection(getattr(item, "fixturenames", ()))
        )
        repeated = (
            not uses_sql
            or item.get_closest_marker("browser") is not None
            or item.nodeid.startswith(_SAME_ON_BOTH)
            or (item.nodeid.startswith("tests/processes/") and not any(word in item.name for word in _PROCESSES_OF_SQL))
        )
        (left_out if repeated else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """A file to a worker, but all tests of processes to one: they share a running product, which takes long to start."""

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "tests/processes" if nodeid.startswith("tests/processes/") else str(super()._split_scope(nodeid))

    return Scheduling(config, log)


def _turn(item: pytest.Item) -> int:
    return next((turn for turn, folder in enumerate(_LONGEST) if item.nodeid.startswith(folder)), len(_LONGEST))


@pytest.fixture(scope="session")
def state_redis() -> RedisServer:
    """The state server of this test process; a test that stops it must start it again."""
    return environment.STATE


@pytest.fixture(scope="session")
def cache_redis() -> RedisServer:
    """The cache server of this test process."""
    return environment.CACHE


@pytest.fixture(autouse=True)
def quick_passwords(settings: Settings) -> None:
    """A million rounds a password are for attackers to suffer; the named cast signs in hundreds of times."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session", autouse=True)
def no_tickers() -> Iterator[None]:
    """No background thread reads a database that a test rolls back, or writes to a Redis that the next test looks at: not
    even one that a late call starts between two tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background.Ticker, "ensure_started", lambda self: None)
        yield


@pytest.fixture(autouse=True)
def clean_slate(state_redis: RedisServer, cache_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is left in Redis or in memory."""
    holding.take_for_granted(monkeypatch)
    state_redis.start()
    cache_redis.start()
    state_redis.flush()
    cache_redis.flush()
    forget_everything()
    yield
    forget_everything()


def forget_everything() -> None:
    """Empty every in-process cache, as a fresh process would have it."""
    authentication.forget_all()
    contracts.forget_all()
    pricing.forget()
    versions.forget()
    catalogue.forget()
    computing.forget()
    pixel_budget.forget()
    permits.cache_clear()
    samples.forget()
    counting.forget()
    shadow.forget()
    traffic.forget()
    trusted_documents.forget()
    documents.forget()


@dataclass(frozen=True)
class Customer:
    """A tenant with its owner, one key with every scope, and the plan that it is on."""

    tenant: Tenant
    owner: User
    key: ApiKey
    secret: str
    plan: Plan

    @property
    def auth(self) -> dict[str, str]:
        """Headers of a call with the key, for Django's test client."""
        return {"authorization": f"Bearer {self.secret}"}


def make_customer(slug: str, *, included_units: int = 1_000_000) -> Customer:
    """A tenant on a generous plan of its own: 1,000 units in a bucket, refilled 100 a second."""
    owner = User.objects.create_user(f"owner@{slug}.example", "correct horse battery", full_name=f"Owner of {slug}")
    tenant = tenancy.create(slug=slug, name=slug.title(), owner=owner)
    plan = Plan.objects.create(name=f"Plan of {slug}", included_units=included_units)
    LimitRule.objects.create(plan=plan, name="burst", kind=LimitKind.TOKEN_BUCKET, amount=1000, rate=100.0)
    Subscription.objects.create(tenant=tenant, plan=plan)
    issued = api_keys.issue(tenant=tenant, name="Production", scopes=list(SCOPES), created_by=owner)
    return Customer(tenant=tenant, owner=owner, key=issued.key, secret=issued.secret, plan=plan)


@pytest.fixture
def acme(db: None) -> Customer:
    """The customer whose calls are looked at."""
    return make_customer("acme")


@pytest.fixture
def globex(db: None) -> Customer:
    """The outsider, who must see nothing of acme's."""
    return make_customer("globex")


@pytest.fixture
def prices(db: None) -> None:
    """Small models cost 1 unit, large ones 10, a batch call 50, cached answers nothing but for large models 1."""
    Price.objects.create(operation="predict", per_input=1, cached_per_input=0)
    Price.objects.create(operation="predict", model="large", per_input=10, cached_per_input=1)
    Price.objects.create(operation="batch", per_call=50, per_input=1, cached_per_input=0)
