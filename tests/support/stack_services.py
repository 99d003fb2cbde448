"""What tests ask of a stack's database and Redis, through the product's own services; runs in the stack's shell."""

from __future__ import annotations

import json
import secrets
import sys
import time
import traceback
from typing import Any


def customer(*, slug: str, included_units: int = 1_000_000, concurrent: int = 500) -> dict[str, Any]:
    """A tenant with a monthly cap, a limit on concurrent requests and one key."""
    from billing.models import LimitKind, LimitRule, Plan, Subscription
    from tenants import api_keys, tenancy
    from tenants.models import User
    from tenants.scopes import SCOPES

    password = secrets.token_urlsafe(16)
    owner = User.objects.create_user(f"owner@{slug}.example", password, full_name=f"Owner of {slug}")
    tenant = tenancy.create(slug=slug, name=slug.title(), owner=owner)
    plan = Plan.objects.create(name=f"Plan of {slug}", included_units=included_units)
    LimitRule.objects.create(
        plan=plan, name="concurrent", kind=LimitKind.CONCURRENCY, counts="requests", amount=concurrent
    )
    Subscription.objects.create(tenant=tenant, plan=plan)
    issued = api_keys.issue(tenant=tenant, name="Production", scopes=list(SCOPES), created_by=owner)
    return {"tenant_id": tenant.pk, "secret": issued.secret, "key_id": issued.key.pk, "password": password}


def ledger(*, tenant_id: int) -> dict[str, Any]:
    """The tenant's usage records and sums in SQL, as the jobs worker has brought them there; what was taken back is left out."""
    from django.db.models import Sum

    from billing.models import UsageRecord, UsageRollup

    records = UsageRecord.objects.filter(tenant_id=tenant_id, voids__isnull=True, voided_by__isnull=True)
    days = UsageRollup.objects.filter(tenant_id=tenant_id).aggregate(calls=Sum("calls"), units=Sum("units"))
    return {
        "records": records.count(),
        "units": records.aggregate(total=Sum("units"))["total"] or 0,
        "requests": sorted(records.values_list("request_id", flat=True)),
        "by_request": dict(records.order_by().values_list("request_id").annotate(total=Sum("units"))),
        "day_calls": days["calls"] or 0,
        "day_units": days["units"] or 0,
    }


def remaining(*, secret: str) -> dict[str, int]:
    """What each limit of the caller has left, by name."""
    from billing import admission, contracts
    from billing.metering import ledger as metering_ledger
    from tenants import authentication

    caller = authentication.authenticate(secret, address="127.0.0.1", fresh=True)
    contract = contracts.contract_of(caller)
    decision = admission.peek(
        subject=contract.subject, limits=contract.limits, month_to_date=metering_ledger.month_to_date
    )
    return {state.limit.name: state.remaining for state in decision.states}


def change(*, what: str, key_id: int) -> None:
    """Change the ``contract`` or the ``key``, or ``rotate`` the key, whose present secret works on."""
    from billing import contracts
    from billing.models import LimitRule, Subscription
    from tenants import api_keys
    from tenants.models import ApiKey

    key = ApiKey.objects.get(pk=key_id)
    if what == "contract":
        plan = Subscription.objects.get(tenant_id=key.tenant_id).plan
        contracts.rules_changed(rule=LimitRule.objects.get(plan=plan, name="concurrent"))
    elif what == "key":
        api_keys.changed(key=key)
    else:
        api_keys.rotate(key=key)


def open_holds(*, tenant_id: int) -> int:
    """How many holds the state Redis has of a tenant, ended or not; looking at them changes nothing."""
    from billing.admission import keys
    from mlplatform.lib import redis
    from tenants.models import Tenant

    _, expiry, *_ = keys.of_tenant(Tenant.objects.get(pk=tenant_id).shard, tenant_id)
    return int(redis.state().zcard(expiry))


def keys_of_state() -> list[list[Any]]:
    """Every key of the state Redis, and whether it has a time to live."""
    from mlplatform.lib import redis

    client = redis.state()
    lives = [(redis.as_bytes(name).decode(), client.ttl(name)) for name in client.scan_iter("*", count=1000)]
    return [[name, ttl != -1] for name, ttl in lives]


def end_holds(*, tenant_id: int) -> None:
    """As if the time of each of the tenant's holds were over, so that no test has to wait for it."""
    from billing.admission import keys
    from mlplatform.lib import redis
    from tenants.models import Tenant

    _, expiry, *_ = keys.of_tenant(Tenant.objects.get(pk=tenant_id).shard, tenant_id)
    holds: Any = redis.state().zrange(expiry, 0, -1)
    redis.state().zadd(expiry, dict.fromkeys(holds, 1))


def revoke(*, key_id: int) -> None:
    """Revoke a key."""
    from tenants import api_keys
    from tenants.models import ApiKey

    api_keys.revoke(key=ApiKey.objects.get(pk=key_id))


def promote(*, model: str, version: str) -> None:
    """Make a version of a model live; as the product asks, again in some moments where no worker holds it yet."""
    from inference.models import ModelVersion
    from inference.registry import versions as model_versions
    from mlplatform.lib.errors import PlatformError

    row = ModelVersion.objects.select_related("model").get(model__name=model, version=version)
    end = time.monotonic() + 60
    while True:
        try:
            return model_versions.promote(version=row)
        except PlatformError as error:
            if "holds" not in error.detail or time.monotonic() >= end:
                raise
        time.sleep(0.1)


def roll_back(*, model: str) -> str:
    """Make that version live which was live before, and give it."""
    from inference.models import MLModel
    from inference.registry import versions as model_versions

    return model_versions.rollback(model=MLModel.objects.get(name=model)).version


def deprecate(*, subject: str, successor: str, share: int) -> int:
    """Announce and deprecate an API version at once, with a brownout that begins at once; gives the schedule's id."""
    import datetime as dt

    from mlplatform.lib import clock
    from tenants.deprecations import schedules
    from tenants.models import DeprecationSchedule

    now = clock.now()
    row = schedules.save(
        DeprecationSchedule(
            kind="api_version",
            subject=subject,
            successor=successor,
            announce_at=now,
            deprecate_at=now,
            sunset_at=now + dt.timedelta(days=200),
            reason="Its successor says more.",
            guide="Use the successor.",
        )
    )
    if share:
        schedules.plan_brownout(schedule=row, starts_at=now, ends_at=now + dt.timedelta(hours=1), share=share, by=None)
    return row.pk


def call_off(*, schedule_id: int) -> None:
    """Cancel a schedule."""
    from tenants.deprecations import schedules
    from tenants.models import DeprecationSchedule

    schedules.cancel(DeprecationSchedule.objects.get(pk=schedule_id))


def keep_calls(*, tenant_id: int) -> None:
    """Have the tenant opt in to its sampled calls being kept whole."""
    from inference.deprecations.samples import store as samples
    from tenants.models import Tenant

    samples.opt_in(tenant=Tenant.objects.get(pk=tenant_id))


def versions(*, model: str) -> dict[str, str]:
    """The state of each version of a model."""
    from inference.models import ModelVersion

    return dict(ModelVersion.objects.filter(model__name=model).values_list("version", "state"))


def slug(*, tenant_id: int) -> str:
    """The tenant's name in addresses and commands."""
    from tenants.models import Tenant

    return Tenant.objects.get(pk=tenant_id).slug


def queue_depths() -> dict[str, int]:
    """What waits in the broker."""
    from inference.fleet import workers

    return workers.queue_depths()


def answered_calls() -> int:
    """Answers with success in the last hours, as far as processes have told."""
    from mlplatform.observability import traffic

    return traffic.latest(24).answered


def workers() -> dict[str, dict[str, Any]]:
    """What the living workers of models say of themselves, by name."""
    from dataclasses import asdict

    from inference.fleet import workers as known

    return {info.name: asdict(info) for info in known.alive() if info.computes}


def drain(*, worker: str) -> None:
    """Have a worker take no new batch."""
    from inference.fleet import workers as known

    known.drain(worker=worker, by="ada@staff.example")


def undrain(*, worker: str) -> None:
    """Let it take batches again."""
    from inference.fleet import workers as known

    known.undrain(worker=worker)


def database() -> dict[str, str]:
    """The engine and the name of the database."""
    from django.conf import settings

    values = settings.DATABASES["default"]
    return {"engine": values["ENGINE"].rpartition(".")[2], "name": str(values["NAME"])}


def rows() -> list[str]:
    """Every value of every table, as text."""
    from django.apps import apps

    return [
        repr(row) for model in apps.get_models(include_auto_created=True) for row in model._base_manager.values_list()
    ]


_SERVICES = {
    service.__name__: service
    for service in (
        customer,
        ledger,
        remaining,
        change,
        open_holds,
        keys_of_state,
        end_holds,
        revoke,
        promote,
        roll_back,
        deprecate,
        call_off,
        keep_calls,
        versions,
        slug,
        queue_depths,
        answered_calls,
        workers,
        drain,
        undrain,
        database,
        rows,
    )
}


def main() -> None:
    """Answer one call a line until the pipe is closed."""
    import django

    django.setup()
    from django.db import close_old_connections

    for line in sys.stdin:
        name, arguments = json.loads(line)
        close_old_connections()
        try:
            reply: dict[str, Any] = {"result": _SERVICES[name](**arguments)}
        except Exception as error:  # noqa: BLE001 - the test process raises it again
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
