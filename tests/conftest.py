"""The named cast of the tests, and what every test starts from: empty Redis servers and empty in-process caches."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
from auditlog.context import disable_auditlog
from pytest_django import Settings
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile

from billing import contracts, pricing
from billing.models import LimitKind, LimitRule, Plan, Price, Subscription
from inference.deprecations.samples import store as samples
from inference.engine import linger, plans, works
from inference.engine.permits import WAITING, permits
from inference.inputs import pixel_budget
from inference.registry import versions
from inference.trials import counting, shadow
from mlplatform.graphql.documents import documents
from mlplatform.lib import background, redis
from mlplatform.observability import traffic
from tenants import api_keys, authentication, tenancy, trusted_documents
from tenants.deprecations import catalogue
from tenants.models import ApiKey, Tenant, User
from tenants.scopes import SCOPES
from tests.support import environment, examples, holding, windows
from tests.support.redis_server import RedisServer

examples.load_profile()


@pytest.fixture(scope="session")
def state_redis() -> RedisServer:
    """The state server of this test process; a test that stops it must start it again."""
    return environment.STATE


@pytest.fixture(scope="session")
def cache_redis() -> RedisServer:
    """The cache server of this test process."""
    return environment.CACHE


@pytest.fixture
def hasty_redis_clients(settings: Settings) -> Iterator[Callable[[], None]]:
    """Clients that wait as briefly as the product's, for tests in which a Redis server stands still; what it gives makes them
    patient again, for what the test looks at when it is over."""
    wait = "?socket_timeout=0.2&socket_connect_timeout=0.2"  # Another URL gets connections of its own.
    patient, patience_s = settings.CACHES, settings.REDIS_TIMEOUT_S
    settings.REDIS_TIMEOUT_S = 0.2
    settings.CACHES = {name: {**cache, "LOCATION": cache["LOCATION"] + wait} for name, cache in patient.items()}
    forget_redis_clients()

    def be_patient() -> None:
        settings.CACHES, settings.REDIS_TIMEOUT_S = patient, patience_s
        forget_redis_clients()

    yield be_patient
    be_patient()


def forget_redis_clients() -> None:
    """The next call makes them anew, as the settings are then."""
    redis.state.cache_clear()
    redis.cache.cache_clear()


@pytest.fixture(autouse=True)
def quick_passwords(settings: Settings) -> None:
    """A million rounds a password are for attackers to suffer; the named cast signs in hundreds of times."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session", autouse=True)
def static_files_found_once() -> Iterator[None]:
    """Each application that a test makes would look for the same files again, which took a third of a small test."""
    found: dict[str, StaticFile] = {}
    look = WhiteNoiseMiddleware.add_files_from_finders

    def add_files(middleware: WhiteNoiseMiddleware) -> None:
        if not found:
            look(middleware)
            found.update(middleware.files)
        middleware.files.update(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoiseMiddleware, "add_files_from_finders", add_files)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_tickers() -> Iterator[None]:
    """No background thread reads a database that a test rolls back, or writes to a Redis that the next test looks at: not
    even one that a late call starts between two tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background.Ticker, "ensure_started", lambda self: None)
        yield


@pytest.fixture(autouse=True)
def clean_slate(state_redis: RedisServer, cache_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is left in Redis or in memory, and neither an hour nor a window of django-ratelimit ends while a test counts."""
    windows.let_the_hour_end()
    windows.hold_rate_windows(monkeypatch)
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
    works.forget()
    linger.forget()
    plans.forget()
    pixel_budget.forget()
    permits.cache_clear()
    WAITING.set(0)
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


def make_customer(slug: str, *, included_units: int = 1_000_000, audited: bool = False) -> Customer:
    """A tenant on a generous plan of its own: 1,000 units in a bucket, refilled 100 a second.

    Its making stands in the audit log only if ``audited``: that takes three quarters of the time, thousands of times.
    """
    with nullcontext() if audited else disable_auditlog():
        return _customer(slug, included_units)


def _customer(slug: str, included_units: int) -> Customer:
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
    Price.objects.bulk_create(
        [
            Price(operation="predict", per_input=1, cached_per_input=0),
            Price(operation="predict", model="large", per_input=10, cached_per_input=1),
            Price(operation="batch", per_call=50, per_input=1, cached_per_input=0),
        ]
    )
