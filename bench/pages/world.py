"""Who and what usage is of: tenants with their keys, models with their versions, and the schedules by which some end."""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from bench.pages.size import Size

STAFF: Final = "staff@bench.example"
_DAY: Final = dt.timedelta(days=1)
_STATES: Final = ("retired", "retired", "ready", "live", "staged")
"""Of a model's versions, oldest first; where there are more, the oldest are retired."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model as calls name it, with its versions that answer; ``owner`` is the rank of its only tenant."""

    name: str
    versions: tuple[str, ...]
    owner: int | None


@dataclass(frozen=True, slots=True)
class World:
    """What the ledger refers to: ids of tenants by rank, their keys' ids, and the models."""

    tenants: tuple[int, ...]
    keys: tuple[tuple[str, ...], ...]
    models: tuple[Served, ...]


def make(size: Size, *, now: dt.datetime) -> World:
    """All of it by the ORM, in bulk: these are thousands of rows, not millions."""
    from tenants.models import User

    staff = User.objects.create_superuser(STAFF, None)
    tenants, keys = _tenants(size, now)
    models = _models(size, tenants, now)
    _schedules(size, tenants, models, staff_id=staff.pk, now=now)
    return World(tuple(tenants), keys, models)


def _tenants(size: Size, now: dt.datetime) -> tuple[list[int], tuple[tuple[str, ...], ...]]:
    from billing.models import LimitKind, LimitRule, Plan, Price, Subscription
    from tenants.models import ApiKey, Membership, Role, Tenant, User

    plans = [
        Plan.objects.create(name=f"Bench {name}", included_units=units, monthly_fee=fee)
        for name, units, fee in (("Starter", 10**6, 49), ("Team", 10**7, 199), ("Business", 10**8, 999))
    ]
    for plan in plans:
        LimitRule.objects.create(plan=plan, name="burst", kind=LimitKind.TOKEN_BUCKET, amount=2000, rate=20)
    rows = [
        Tenant(
            slug=f"customer-{n:03}",
            name=f"Customer {n:03}",
            shard=n % 64,
            status="suspended" if n % 50 == 49 else "active",
        )
        for n in range(size.tenants)
    ]
    tenants = [row.pk for row in Tenant.objects.bulk_create(rows)]
    owners = User.objects.bulk_create([User(email=f"owner@customer-{n:03}.example") for n in range(size.tenants)])
    Membership.objects.bulk_create(
        [Membership(tenant_id=pk, user=owner, role=Role.OWNER) for pk, owner in zip(tenants, owners, strict=True)]
    )
    Subscription.objects.bulk_create(
        [Subscription(tenant_id=pk, plan=plans[n % 3], starts_at=now - 365 * _DAY) for n, pk in enumerate(tenants)]
    )
    made = ApiKey.objects.bulk_create(
        [
            ApiKey(tenant_id=pk, name=f"Key {n}", scopes=["predict", "batch"], last_used_at=now - n * _DAY)
            for pk in tenants
            for n in range(size.keys_a_tenant)
        ]
    )
    Price.objects.bulk_create([Price(operation="predict", model=f"model-{n:02}", per_input=n + 1) for n in range(20)])
    uids = [key.uid for key in made]
    each = size.keys_a_tenant
    return tenants, tuple(tuple(uids[start : start + each]) for start in range(0, len(uids), each))


def _models(size: Size, tenants: list[int], now: dt.datetime) -> tuple[Served, ...]:
    """Two of three models are on sale to all, the third is private to one tenant."""
    from inference.models import MLModel, ModelVersion, Promotion

    found, versions = [], []
    for n in range(size.models):
        owner = n % len(tenants) if n % 3 == 2 else None
        model = MLModel.objects.create(
            name=f"model-{n:02}", title=f"Model {n:02}", owner_id=None if owner is None else tenants[owner]
        )
        states = ("retired",) * (size.versions_a_model - len(_STATES)) + _STATES[-size.versions_a_model :]
        own = [
            ModelVersion(
                model=model,
                version=f"{number}.0.0",
                runtime="text-classification",
                artefact_path=f"bench/{n}/{number}",
                sha256=f"{n * 100 + number:064x}",
                input_schema={"kind": "text", "max_chars": 10_000},
                output_schema={"kind": "classification"},
                labels=["negative", "positive"],
                state=state,
                accuracy=0.7 + number / 50,
                accuracy_note=_NOTE,
                live_since=now - 30 * _DAY if state == "live" else None,
            )
            for number, state in enumerate(states, start=1)
        ]
        versions += own
        answering = tuple(row.version for row in own if row.state in {"ready", "live"})
        name = model.name if owner is None else f"customer-{owner:03}/{model.name}"
        found.append(Served(name, answering, owner))
    ModelVersion.objects.bulk_create(versions)
    live = [row for row in versions if row.state == "live"]
    Promotion.objects.bulk_create([Promotion(model=row.model, version=row, at=now - 30 * _DAY) for row in live])
    return tuple(found)


_NOTE: Final = (
    "Held-out accuracy of `top_k=1` on 3,222 sentences that were taken out of the training data by their hash before "
    "anything else was done; the split and the numbers are those of the package's card, measured on 1 Nov 2026 with one thread."
)


def _schedules(size: Size, tenants: list[int], models: tuple[Served, ...], *, staff_id: int, now: dt.datetime) -> None:
    """v1 ends for all tenants, with brownouts, extensions, notices and rehearsals; so does the older version of most models."""
    from inference.models.lifecycle import Notice, Rehearsal
    from tenants.models import Brownout, DeprecationSchedule, Extension

    def schedule(kind: str, subject: str, successor: str, *, announced_days_ago: int) -> DeprecationSchedule:
        announced = now - announced_days_ago * _DAY
        return DeprecationSchedule.objects.create(
            kind=kind,
            subject=subject,
            successor=successor,
            announce_at=announced,
            deprecate_at=announced + 30 * _DAY,
            sunset_at=announced + 220 * _DAY,
            reason="The bench looks at it.",
            guide=f"Use {successor}.\n\n[[changes]]\n\n[[samples]]",
            created_by_id=staff_id,
        )

    v1 = schedule("api_version", "v1", "v2", announced_days_ago=60)
    schedule("api_version", "v1.1", "v2", announced_days_ago=5)
    for n, model in enumerate(models):
        if n % 4 != 3:
            old, live = model.versions
            schedule("model_version", f"{model.name}@{old}", f"{model.name}@{live}", announced_days_ago=10 + n)
    first = now.replace(hour=10, minute=0, second=0, microsecond=0)
    Brownout.objects.bulk_create(
        [
            Brownout(
                schedule=v1,
                starts_at=first + (n - size.brownouts // 2) * 2 * _DAY,
                ends_at=first + (n - size.brownouts // 2) * 2 * _DAY + dt.timedelta(minutes=30),
                share=25,
                created_by_id=staff_id,
            )
            for n in range(size.brownouts)
        ]
    )
    Brownout.objects.bulk_create(
        [
            Brownout(schedule=v1, tenant_id=pk, starts_at=now - n * _DAY, ends_at=now - n * _DAY + _DAY / 48, share=50)
            for n, pk in enumerate(tenants[:20], start=1)
        ]
    )
    Extension.objects.bulk_create(
        [
            Extension(
                schedule=v1,
                tenant_id=pk,
                until=v1.sunset_at + 90 * _DAY,
                reason="Their release comes after the summer.",
                approved_by_id=staff_id,
            )
            for pk in tenants[: size.extensions]
        ]
    )
    Notice.objects.bulk_create(
        [
            Notice(
                schedule=v1,
                tenant_id=pk,
                moment=told,
                subject="v1 ends",
                text="v1 ends. " * 100,
                html="<p>v1 ends.</p>" * 100,
                recipients=[f"owner@customer-{n:03}.example"],
                sent_at=now - 20 * _DAY,
            )
            for n, pk in enumerate(tenants)
            for told in ("announcement", "90d", "30d")
        ],
        batch_size=500,
    )
    Rehearsal.objects.bulk_create(
        [
            Rehearsal(schedule=v1, tenant_id=pk, state="succeeded", verdict="ready" if n % 3 else "needs_work")
            for n, pk in enumerate(tenants[::3])
        ]
    )
