"""The demo's customers, plans and prices, with fresh secrets at each first start; written to ``DATA_DIR/demo.json``."""

import datetime as dt
import json
import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from billing import pricing
from billing.models import Counts, LimitKind, LimitRule, LimitScope, Operation, Plan, Price, Subscription
from inference.deprecations.guides import pages as guide_pages
from mlplatform import demo_audience
from mlplatform.lib import clock
from tenants import api_keys, tenancy
from tenants.deprecations import schedules
from tenants.models import DeprecationSchedule, SubjectKind, Tenant, User
from tenants.scopes import SCOPES

FILE = "demo.json"
ADMIN = "admin@mlplatform.example"

_PLANS: tuple[dict[str, Any], ...] = (
    {"name": "Free", "description": "To try things out.", "monthly_fee": "0", "included_units": 10_000},
    {
        "name": "Pro",
        "description": "For products in use.",
        "monthly_fee": "99",
        "included_units": 1_000_000,
        "overage_price": "0.00012",
    },
    {
        "name": "Scale",
        "description": "For heavy use.",
        "monthly_fee": "990",
        "included_units": 20_000_000,
        "overage_price": "0.00006",
    },
)
_LIMITS: dict[str, tuple[dict[str, Any], ...]] = {
    "Free": (
        {"name": "burst", "kind": LimitKind.TOKEN_BUCKET, "amount": 50, "rate": 5.0},
        {"name": "concurrent", "kind": LimitKind.CONCURRENCY, "counts": Counts.REQUESTS, "amount": 4},
    ),
    "Pro": (
        {"name": "burst", "kind": LimitKind.TOKEN_BUCKET, "amount": 2_000, "rate": 200.0},
        {"name": "concurrent", "kind": LimitKind.CONCURRENCY, "counts": Counts.REQUESTS, "amount": 128},
    ),
    "Scale": (
        {"name": "burst", "kind": LimitKind.TOKEN_BUCKET, "amount": 50_000, "rate": 5_000.0},
        {"name": "minute", "kind": LimitKind.SLIDING_WINDOW, "amount": 250_000, "window_s": 60},
        {
            "name": "embeddings",
            "kind": LimitKind.FIXED_WINDOW,
            "scope": LimitScope.MODEL,
            "model": "minilm",
            "amount": 100_000,
            "window_s": 60,
        },
    ),
}
_PRICES: tuple[dict[str, Any], ...] = (
    {"operation": Operation.PREDICT, "model": "", "per_input": 1, "cached_per_input": 0},
    {"operation": Operation.PREDICT, "model": "sentiment", "per_input": 10, "cached_per_input": 1},
    {"operation": Operation.PREDICT, "model": "minilm", "per_input": 5, "cached_per_input": 1},
    {"operation": Operation.BATCH, "model": "", "per_call": 50, "per_input": 1, "cached_per_input": 0},
    {"operation": Operation.GRAPHQL, "model": "", "per_call": 0, "per_input": 1, "cached_per_input": 0},
)
_CUSTOMERS = (("acme", "Acme Corporation", "Pro"), ("globex", "Globex", "Free"))


def seed() -> Path:
    """Make what is missing and give the path of ``demo.json``. Addresses in it follow the present settings."""
    path = Path(settings.DATA_DIR) / FILE
    known: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    with transaction.atomic():
        _plans_and_prices()
        if not known:
            _end_of_v1()
        content = {
            "base_url": settings.BASE_URL,
            "grpc_target": f"{settings.WEB_HOST}:{settings.GRPC_PORT}",
            "tenants": {slug: _customer(slug, name, plan, known) for slug, name, plan in _CUSTOMERS},
            "admin_url": f"{settings.BASE_URL}/admin/",
            **_admin(known),
        }
        if not known:
            demo_audience.seed(Tenant.objects.get(slug=_CUSTOMERS[0][0]))
    _write(path, content)
    return path


def _plans_and_prices() -> None:
    for values in _PLANS:
        plan, made = Plan.objects.get_or_create(name=values["name"], defaults=values)
        if made:
            LimitRule.objects.bulk_create(LimitRule(plan=plan, **limit) for limit in _LIMITS[plan.name])
    if not Price.objects.exists():
        Price.objects.bulk_create(Price(**values) for values in _PRICES)
        pricing.changed()


def _end_of_v1() -> None:
    """Announce an end, so that the timeline, the guides and the notices of a first look are not empty."""
    if DeprecationSchedule.objects.exists() or settings.DEFAULT_API_VERSION == "v1":
        return
    now = clock.now()
    deprecate_at = now + dt.timedelta(days=60)
    schedules.save(
        DeprecationSchedule(
            kind=SubjectKind.API_VERSION,
            subject="v1",
            announce_at=now,
            deprecate_at=deprecate_at,
            sunset_at=deprecate_at + dt.timedelta(days=245),
            successor="v2",
            reason="v2 answers with every label and its score, and says what a call cost.",
            guide=guide_pages.draft(kind=SubjectKind.API_VERSION, subject="v1", successor="v2"),
        )
    )


def _customer(slug: str, name: str, plan: str, known: dict[str, Any]) -> dict[str, str]:
    tenant = Tenant.objects.filter(slug=slug).first()
    entry: dict[str, str] = known.get("tenants", {}).get(slug, {})
    if tenant is not None and entry:
        # Earlier releases named them after a portal that was not there yet.
        return {name.removeprefix("portal_"): value for name, value in entry.items()}
    email, password = f"owner@{slug}.example", secrets.token_urlsafe(12)
    owner = _person(email, password, full_name=f"Owner of {name}")
    if tenant is None:
        tenant = tenancy.create(slug=slug, name=name, owner=owner, default_model="sentiment")
        Subscription.objects.create(tenant=tenant, plan=Plan.objects.get(name=plan))
    key = api_keys.issue(tenant=tenant, name="Demo key", scopes=list(SCOPES), created_by=owner)
    return {"api_key": key.secret, "username": email, "password": password}


def _admin(known: dict[str, Any]) -> dict[str, str]:
    if known.get("admin_password") and User.objects.filter(email=ADMIN).exists():
        return {"admin_username": ADMIN, "admin_password": known["admin_password"]}
    password = secrets.token_urlsafe(12)
    _person(ADMIN, password, full_name="Demo Admin", is_staff=True, is_superuser=True)
    return {"admin_username": ADMIN, "admin_password": password}


def _person(email: str, password: str, **fields: Any) -> User:
    """A user with this password, made or renewed: without the file the old one is unknown."""
    user = User.objects.filter(email=email).first() or User(email=email)
    for name, value in fields.items():
        setattr(user, name, value)
    user.set_password(password)
    user.save()
    return user


def _write(path: Path, content: dict[str, Any]) -> None:
    # The mode is set at creation, so that the secrets are never readable by others, not even for a moment.
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    partial.replace(path)
