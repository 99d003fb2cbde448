import datetime as dt
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.models import Subscription, UsageRecord, UsageRollup
from inference.fleet import workers
from inference.fleet.workers import Heartbeat
from inference.models import MLModel, ModelVersion
from mlplatform.admin_figures import Figure
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


def shown(client: Client) -> list[Figure]:
    context = client.get(PAGE).context
    return [*context["outcomes"], *context["figures"]]


def cards(client: Client) -> dict[str, tuple[str, str]]:
    return {figure.title: (figure.value, figure.note) for figure in shown(client)}


def answer_calls(*statuses: int, brownouts: int = 0) -> None:
    for status in statuses:
        traffic.count(status)
    for _ in range(brownouts):
        traffic.count(503, brownout=True)
    traffic.gather()


def notices(client: Client) -> list[str]:
    return [notice.text for notice in client.get(PAGE).context["notices"]]


def use(customer: Customer, units: int, back: int = 0) -> None:
    day = clock.now().date() - dt.timedelta(days=back)
    UsageRollup.objects.create(day=day, tenant=customer.tenant, key_uid=customer.key.uid, model="digits", units=units)


def test_the_cards_show_traffic_units_queue_and_workers(admin: Client, acme: Customer) -> None:
    answer_calls(*[200] * 94, 404, 404, 404, 429, 429, 500)
    use(acme, 1234)
    use(acme, 99, back=1)
    for queue in ("gpu", "jobs"):
        Heartbeat(queue=queue, device="cpu").beat()
    redis.state().lpush("celery:gpu", "one", "two")
    assert cards(admin) == {
        "Requests today": ("100", "all protocols, UTC"),
        "Answered": ("94", "94.0 % (2xx)"),
        "Refused": ("3", "3.0 % (other 4xx)"),
        "Over a limit": ("2", "2.0 % (429)"),
        "Failed": ("1", "1.00 % (5xx)"),
        "Units today": ("1,234", "99 yesterday"),
        "Waiting": ("2", "2 in gpu, 0 in jobs"),
        "Workers alive": ("2", "1 for models, 1 for jobs"),
    }


def test_every_card_leads_to_a_page(admin: Client, acme: Customer) -> None:
    answer_calls(200, brownouts=1)
    figures = shown(admin)
    assert len(figures) == 9
    for link in {figure.link for figure in figures}:
        assert admin.get(link).status_code == 200, link


def test_a_planned_brownout_is_told_apart_from_failures(admin: Client, acme: Customer) -> None:
    answer_calls(*[200] * 20, brownouts=80)
    failed, brownouts = shown(admin)[4:6]
    assert (failed.title, failed.value, failed.tone) == ("Failed", "0", "")
    assert (brownouts.title, brownouts.value, brownouts.note) == ("Brownouts", "80", "80.0 % (503, planned)")
    assert not any("failed" in notice for notice in notices(admin))


@pytest.mark.parametrize(("failed", "told"), [(4, False), (9, False), (10, True)])
def test_an_error_rate_of_a_percent_needs_attention(admin: Client, failed: int, told: bool) -> None:
    """With 1,000 calls; a handful of failures is told of only where they are a percent of all."""
    answer_calls(*[200] * (1000 - failed), *[500] * failed, brownouts=500)
    found = [notice for notice in admin.get(PAGE).context["notices"] if "failed" in notice.text]
    assert bool(found) is told
    if told:
        assert found[0].text == "1.0 % of calls failed in the last 2 hours: 10 of 1,000 were answered with 5xx."
        assert admin.get(found[0].link).status_code == 200


def test_without_redis_the_page_says_unknown(admin: Client, acme: Customer, state_redis: RedisServer) -> None:
    use(acme, 1234)
    state_redis.stop()
    answer = admin.get(PAGE)
    assert answer.status_code == 200
    values = {figure.title: figure.value for figure in [*answer.context["outcomes"], *answer.context["figures"]]}
    assert values == {
        "Requests today": "unknown",
        "Failed": "unknown",
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


def test_it_says_which_models_no_worker_computes_and_what_is_drained(admin: Client, acme: Customer) -> None:
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
    bars = re.findall(r'title="[^"]*: (\d+) units"', admin.get(PAGE).context["units_chart"])
    assert bars == ["5", *["0"] * 12, "7"]


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
