import datetime as dt

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.models import Subscription, UsageRecord, UsageRollup
from inference.fleet import workers
from inference.fleet.workers import Heartbeat
from inference.models import MLModel, ModelVersion
from mlplatform.lib import clock, ids, redis
from mlplatform.observability import traffic
from tenants import api_keys, tenancy
from tests.conftest import Customer, make_customer
from tests.support import staff
from tests.support.redis_server import RedisServer

PAGE = "/admin/"


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


def cards(client: Client) -> dict[str, tuple[str, str]]:
    return {figure.title: (figure.value, figure.note) for figure in client.get(PAGE).context["figures"]}


def notices(client: Client) -> list[str]:
    return [notice.text for notice in client.get(PAGE).context["notices"]]


def use(customer: Customer, units: int, back: int = 0) -> None:
    day = clock.now().date() - dt.timedelta(days=back)
    UsageRollup.objects.create(day=day, tenant=customer.tenant, key_uid=customer.key.uid, model="digits", units=units)


def test_the_cards_show_traffic_units_queue_and_workers(admin: Client, acme: Customer) -> None:
    for status in [200] * 97 + [429, 429, 500]:
        traffic.count(status)
    traffic.gather()
    use(acme, 1234)
    use(acme, 99, back=1)
    for queue in ("gpu", "jobs"):
        Heartbeat(queue=queue, device="cpu").beat()
    redis.state().lpush("celery:gpu", "one", "two")
    assert cards(admin) == {
        "Requests today": ("100", "2.0% refused (4xx)"),
        "Error rate": ("1.00%", "1 server errors (5xx)"),
        "Units today": ("1,234", "99 yesterday"),
        "Waiting": ("2", "2 in gpu, 0 in jobs"),
        "Workers alive": ("2", "1 for models, 1 for jobs"),
    }


def test_without_redis_the_page_says_unknown(admin: Client, acme: Customer, state_redis: RedisServer) -> None:
    use(acme, 1234)
    state_redis.stop()
    answer = admin.get(PAGE)
    assert answer.status_code == 200
    shown = {figure.title: figure.value for figure in answer.context["figures"]}
    assert shown == {
        "Requests today": "unknown",
        "Error rate": "unknown",
        "Units today": "1,234",
        "Waiting": "unknown",
        "Workers alive": "unknown",
    }
    assert "The state Redis does not answer" in answer.content.decode()


def test_it_says_what_needs_attention(admin: Client, acme: Customer, globex: Customer) -> None:
    acme.plan.included_units = 1000
    acme.plan.save()
    use(acme, 850)
    make_customer("initech")
    hooli = make_customer("hooli")
    Subscription.objects.filter(tenant=hooli.tenant).delete()
    api_keys.issue(tenant=acme.tenant, name="Short", expires_at=clock.now() + dt.timedelta(days=3))
    api_keys.issue(tenant=acme.tenant, name="Long", expires_at=clock.now() + dt.timedelta(days=30))
    UsageRecord.objects.create(
        id=ids.hex_id(), tenant=globex.tenant, key_uid=globex.key.uid, occurred_at=clock.now(), request_id="r", units=1
    )
    tenancy.suspend(tenant=globex.tenant)
    model = MLModel.objects.create(name="digits")
    for version, error in (("1.0.0", ""), ("1.1.0", "the digest differs")):
        ModelVersion.objects.create(
            model=model, version=version, sha256="0" * 64, input_schema={}, output_schema={}, load_error=error
        )
    assert notices(admin) == [
        "No GPU worker is alive: only cached answers are given.",
        "digits@1.1.0 could not be loaded by a worker.",
        "No jobs worker is alive: usage is not written to SQL, and nothing else waits for it.",
        "Globex: suspended, with calls today.",
        "Hooli has no plan, so every call is refused.",
        "Acme (85 %) has used over 80 % of the included units.",
        "1 key expires within 14 days: Short of Acme.",
        "digits@1.0.0 is staged and not yet verified.",
    ]


def test_it_says_which_models_nobody_computes_and_who_is_drained(admin: Client, acme: Customer) -> None:
    model = MLModel.objects.create(name="digits", pool="large")
    ModelVersion.objects.create(
        model=model, version="1.0.0", sha256="0" * 64, input_schema={}, output_schema={}, state="live"
    )
    for queue in ("gpu", "jobs"):
        Heartbeat(queue=queue, device="cpu", name=f"{queue}-1@host").beat()
    workers.drain(worker="gpu-9@host", by="ada@staff.example")
    assert notices(admin) == [
        "No worker takes batches of the pool large: digits can only be answered from the cache.",
        "gpu-9@host is drained by staff.",
    ]


def test_it_says_so_when_nothing_does(admin: Client, acme: Customer) -> None:
    for queue in ("gpu", "jobs"):
        Heartbeat(queue=queue, device="cpu").beat()
    assert notices(admin) == []
    assert "Nothing. Workers are alive" in admin.get(PAGE).content.decode()


def test_the_chart_has_fourteen_days_and_gaps_are_zero(admin: Client, acme: Customer) -> None:
    use(acme, 7)
    use(acme, 5, back=13)
    use(acme, 999, back=14)
    chart = admin.get(PAGE).context["units_chart"]
    assert '"data": [5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]' in chart


def test_staff_without_a_role_see_no_customer(db: None, acme: Customer) -> None:
    use(acme, 950_000)
    page = staff.signed_in(staff.with_role("")).get(PAGE)
    assert page.status_code == 200
    text = page.content.decode()
    assert "Acme" not in text
    assert "Units today" not in text


def test_it_costs_the_same_queries_with_one_tenant_and_with_ten(admin: Client, acme: Customer) -> None:
    use(acme, 10)
    admin.get(PAGE)
    with CaptureQueriesContext(connection) as one:
        admin.get(PAGE)
    for number in range(9):
        use(make_customer(f"more-{number}"), 10)
    with CaptureQueriesContext(connection) as ten:
        admin.get(PAGE)
    assert len(ten) == len(one)
