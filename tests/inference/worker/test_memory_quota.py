"""A call on a tenant's model that its plan has no memory for, and what staff see of the tenant's quotas."""

import datetime as dt

import pytest
from django.test import Client
from pytest_django import Settings

from billing import contracts
from billing.models import Plan
from inference.fleet.workers import Heartbeat, LoadedModel
from inference.inputs import pixel_budget, pixel_use
from inference.registry.packages import turns
from mlplatform.lib.errors import ErrorKind
from tenants.authentication import authenticate
from tests.conftest import Customer
from tests.support import ledger, staff
from tests.support.redis_server import RedisServer
from tests.support.rest import Api, assert_problem
from tests.support.tiny_model import TinyWorker, make_version, tiny_worker
from tests.support.walked_clock import Walk, walk

__all__ = ["tiny_worker", "walk"]

NOW = dt.datetime(2027, 1, 4, 9, tzinfo=dt.UTC)


@pytest.mark.django_db(transaction=True)  # The worker's thread reads the plan.
@pytest.mark.usefixtures("prices")
def test_a_call_is_told_that_the_plan_has_no_memory_for_the_model(
    acme: Customer, globex: Customer, tiny_worker: TinyWorker, settings: Settings
) -> None:
    settings.PRIVATE_MODEL_MEMORY_MB = 100
    make_version("reviews", owner=acme.tenant)
    tiny_worker.serve(make_version("tiny"))
    Plan.objects.filter(pk=acme.plan.pk).update(model_memory_mb=50)
    answer = Api(acme).post("/v2/predict", {"model": "reviews", "input": "good"})
    assert_problem(
        answer,
        ErrorKind.UNPROCESSABLE,
        "may take 100 MB of memory, and all models of this tenant together 50 MB in a worker. Use a smaller model, or ask for a "
        "larger plan. Nothing was charged.",
    )
    ledger.assert_untouched(acme)
    assert Api(globex).post("/v2/predict", {"model": "tiny", "input": "good"}).status == 200


def test_staff_see_what_a_tenant_occupies(
    acme: Customer, settings: Settings, state_redis: RedisServer, walk: Walk
) -> None:
    settings.PUSHES_PER_TENANT, settings.PIXELS_PER_KEY_PER_S = "30/h", 5_000_000
    settings.MAX_PRIVATE_VERSIONS, settings.MAX_PRIVATE_MEMORY_MB = 50, 8192
    make_version("reviews", owner=acme.tenant, size_bytes=3 * 2**20)
    make_version("reviews", "0.9.0", "retired", owner=acme.tenant, size_bytes=7 * 2**20)
    with turns.turn(acme.tenant.pk):
        pass
    walk(NOW)
    contract = contracts.contract_of(authenticate(acme.secret, address="192.0.2.1", fresh=True))
    for _ in range(2):
        pixel_budget.take(contract, 60_000, field="input")
        pixel_use.flush()
    walk(NOW + dt.timedelta(minutes=1))
    for name, references in {"a": ["acme/reviews@1.0.0", "acme/spam@1.0.0"], "b": ["acme/reviews@1.0.0"]}.items():
        worker = Heartbeat(queue="private", device="cpu", name=name)
        models = [LoadedModel(one, 2**20, reserved_bytes=1033 * 2**20) for one in [*references, "acmeplus/own@1"]]
        worker.loaded = models.copy
        worker.beat()
    client = staff.signed_in(staff.superuser())
    assert shown(client, acme) == [
        "Model versions: 1 of 50, without retired ones",
        "Files of models: 3.0 MB of 4,096.0 MB",
        "Memory of models: 2,066.0 MB of 8,192.0 MB, in the fullest worker",
        "Pushes: 1 of 30 per h, one at a time",
        "Pixels a second, last minute: 2,000 of 5,000,000, allowed by each process to each key",
    ]
    numbers = {
        "model_versions": 7,
        "model_bytes": 2**21,
        "model_memory_mb": 99,
        "pushes_per_hour": 3,
        "pixels_per_s": 11,
    }
    Plan.objects.filter(pk=acme.plan.pk).update(**numbers)
    contracts.plan_changed(plan=acme.plan)
    state_redis.stop()
    lines = shown(client, acme)
    state_redis.start()
    assert [line.rpartition(" of ")[2].split()[0].strip(",") for line in lines] == ["7", "2.0", "99.0", "3", "11"]
    assert [line.rpartition(": ")[2].partition(" of ")[0] for line in lines[2:]] == ["?"] * 3


def shown(client: Client, customer: Customer) -> list[str]:
    page = client.get(f"/admin/tenants/tenant/{customer.tenant.pk}/edit/").content.decode()
    _, _, rest = page.partition("<div>Model versions: ")
    text = "Model versions: " + rest.partition("</div></div>")[0]
    lines = text.replace("<b>", "").replace("</b>", "").split("</div><div>")
    return [" ".join(line.partition("<")[0].split()) for line in lines]


def test_staff_set_the_numbers_of_a_plan(acme: Customer) -> None:
    page = staff.signed_in(staff.superuser()).get(f"/admin/billing/plan/{acme.plan.pk}/change/").content.decode()
    for name in ("model_versions", "model_bytes", "model_memory_mb", "pushes_per_hour", "pixels_per_s"):
        assert f'name="{name}"' in page
    assert "each counts with all that it may take" in page
