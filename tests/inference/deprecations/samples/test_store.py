"""Sampled calls: shapes unless the tenant wants otherwise, few of them, not for long, and never in the way of a call."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from inference.deprecations.samples import store as samples
from inference.models import CallSample
from tenants.deprecations import catalogue
from tenants.models import DeprecationSchedule, Tenant
from tests.conftest import Customer
from tests.inference.deprecations.notices.telling import DAY, MINUTE, NOW, answer, caller_of, tiny_ends, v1_ends
from tests.support.rest import Api
from tests.support.tiny_model import TinyWorker, make_version, tiny_worker
from tests.support.walked_clock import Walk, published_at_once, walk

__all__ = ["published_at_once", "tiny_worker", "walk"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("published_at_once")]

SECRET = "Ms. Miller of 12 Elm Street is furious"
Offer = Callable[..., None]


@pytest.fixture
def schedule(walk: Walk) -> DeprecationSchedule:
    walk(NOW)
    return v1_ends()


def offer(customer: Customer, row: DeprecationSchedule, text: str = SECRET, **changes: Any) -> None:
    fields: dict[str, Any] = {
        "schedule": catalogue.frozen(row),
        "caller": caller_of(customer),
        "api_version": "v1",
        "model": "tiny",
        "body": {"model": "tiny", "input": text},
        "answer": answer(),
        "client": "acme-app/3.1",
    }
    samples.offer(**(fields | changes))


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("mlplatform_call_samples_dropped_total", {"reason": reason}) or 0.0


def everything() -> str:
    return str(list(CallSample.objects.values("body", "answer", "expected", "client", "model")))


def test_only_the_shape_of_a_call_is_kept(acme: Customer, schedule: DeprecationSchedule) -> None:
    offer(acme, schedule)
    assert CallSample.objects.count() == 0, "nothing is written on the path of the call"
    assert samples.flush() == 1
    row = CallSample.objects.get()
    assert row.body == {"model": "tiny", "input": f"<text, {len(SECRET)} characters>"}
    assert row.answer == {"prediction": "<text, 3 characters>", "confidence": 0}
    assert (row.expected, row.whole) == (None, False)
    assert (row.tenant_id, row.key_uid, row.client, row.called_at) == (
        acme.tenant.pk, acme.key.uid, "acme-app/3.1", NOW,
    )  # fmt: skip


def test_a_tenant_that_opted_in_has_its_calls_kept_whole(acme: Customer, schedule: DeprecationSchedule) -> None:
    samples.opt_in(tenant=acme.tenant)
    offer(acme, schedule)
    samples.flush()
    row = CallSample.objects.get()
    assert row.body == {"model": "tiny", "input": SECRET}
    assert row.answer == {"prediction": "yes", "confidence": 0.75}
    assert row.expected is not None
    assert row.expected["predictions"] == [{"label": "yes", "score": 0.75}, {"label": "no", "score": 0.25}]
    assert row.whole
    assert samples.replayable(tenant_id=acme.tenant.pk, kind="api_version", subject="v1") == [row]


def test_large_calls_are_never_kept_whole(acme: Customer, schedule: DeprecationSchedule) -> None:
    samples.opt_in(tenant=acme.tenant)
    offer(acme, schedule, SECRET * 300)
    samples.flush()
    assert not CallSample.objects.get().whole
    assert SECRET not in everything()
    assert samples.replayable(tenant_id=acme.tenant.pk, kind="api_version", subject="v1") == []


def test_who_opts_out_has_nothing_whole_left(
    acme: Customer, globex: Customer, schedule: DeprecationSchedule, walk: Walk
) -> None:
    for customer in (acme, globex):
        samples.opt_in(tenant=customer.tenant)
        offer(customer, schedule)
    samples.flush()
    walk(NOW + 2 * MINUTE)
    offer(acme, schedule, "on its way when the tenant opts out")
    samples.opt_out(tenant=acme.tenant)
    samples.flush()
    assert not Tenant.objects.get(pk=acme.tenant.pk).keeps_calls
    of_acme = CallSample.objects.filter(tenant=acme.tenant)
    assert [row.whole for row in of_acme] == [False, False]
    assert all("<text" in str(row.body) and row.expected is None for row in of_acme)
    of_globex = CallSample.objects.get(tenant=globex.tenant)
    assert of_globex.whole
    assert of_globex.body["input"] == SECRET


def test_once_a_minute_for_each_key_and_subject(
    acme: Customer, globex: Customer, schedule: DeprecationSchedule, walk: Walk
) -> None:
    for _ in range(3):
        offer(acme, schedule)
        offer(globex, schedule)
    assert samples.flush() == 2
    samples.forget()
    walk(NOW + MINUTE / 2)
    offer(acme, schedule)
    assert samples.flush() == 0, "another process had one within the minute"
    samples.forget()
    walk(NOW + MINUTE)
    offer(acme, schedule)
    assert samples.flush() == 1


def test_at_most_fifty_are_kept_of_a_tenant_and_subject(
    acme: Customer, globex: Customer, schedule: DeprecationSchedule, walk: Walk
) -> None:
    offer(globex, schedule)
    for minute in range(samples.KEPT_A_SUBJECT + 5):
        walk(NOW + minute * MINUTE)
        offer(acme, schedule)
        samples.flush()
    of_acme = CallSample.objects.filter(tenant=acme.tenant)
    assert of_acme.count() == samples.KEPT_A_SUBJECT
    assert min(row.called_at for row in of_acme) == NOW + 5 * MINUTE
    assert CallSample.objects.filter(tenant=globex.tenant).count() == 1
    latest = samples.latest(tenant_id=acme.tenant.pk, kind="api_version", subject="v1")
    assert latest is not None
    assert latest.called_at == NOW + (samples.KEPT_A_SUBJECT + 4) * MINUTE


def test_after_thirty_days_they_are_forgotten(acme: Customer, schedule: DeprecationSchedule, walk: Walk) -> None:
    offer(acme, schedule)
    samples.flush()
    walk(NOW + 30 * DAY)
    assert samples.purge() == 0
    walk(NOW + 30 * DAY + MINUTE)
    assert samples.latest(tenant_id=acme.tenant.pk, kind="api_version", subject="v1") is None, "even before the purge"
    assert samples.purge() == 1
    assert not CallSample.objects.exists()


def test_the_purge_redacts_what_staff_made_a_tenant_opt_out_of(acme: Customer, schedule: DeprecationSchedule) -> None:
    samples.opt_in(tenant=acme.tenant)
    offer(acme, schedule)
    samples.flush()
    Tenant.objects.filter(pk=acme.tenant.pk).update(keeps_calls=False)
    assert samples.replayable(tenant_id=acme.tenant.pk, kind="api_version", subject="v1") == []
    samples.purge()
    assert SECRET not in everything()
    assert CallSample.objects.count() == 1


@pytest.mark.parametrize("error", [OperationalError, DatabaseError])
def test_while_sql_is_away_samples_are_dropped_and_counted(
    acme: Customer, schedule: DeprecationSchedule, walk: Walk, error: type[DatabaseError]
) -> None:
    before = dropped("sql")
    offer(acme, schedule)

    def away(*args: Any) -> Any:
        raise error("no such server")

    with connection.execute_wrapper(away):
        assert samples.flush() == 0
    assert dropped("sql") == before + 1
    assert samples.flush() == 0, "dropped, not kept for later"
    walk(NOW + MINUTE)
    offer(acme, schedule)
    assert samples.flush() == 1


def test_memory_is_bounded(acme: Customer, schedule: DeprecationSchedule, walk: Walk) -> None:
    before = dropped("full")
    for minute in range(samples.MOST_WAITING + 2):
        walk(NOW + minute * MINUTE)
        offer(acme, schedule)
    assert dropped("full") == before + 2


def test_a_call_that_cannot_be_sampled_is_answered_all_the_same(
    acme: Customer, schedule: DeprecationSchedule, caplog: pytest.LogCaptureFixture
) -> None:
    offer(acme, schedule, body={"model": "tiny", "input": object()})
    assert "could not be sampled" in caplog.text
    assert samples.flush() == 0


def test_threads_that_offer_at_once_leave_one_sample(acme: Customer, schedule: DeprecationSchedule) -> None:
    caller, frozen = caller_of(acme), catalogue.frozen(schedule)
    start = threading.Barrier(8)

    def call() -> None:
        start.wait(10)
        samples.offer(
            schedule=frozen,
            caller=caller,
            api_version="v1",
            model="tiny",
            body={"model": "tiny", "input": SECRET},
            answer=answer(),
        )

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert samples.flush() == 1


# --- Through the API --------------------------------------------------------------------------------------------------


def test_only_calls_of_what_ends_are_sampled(acme: Customer, prices: None, tiny_worker: TinyWorker, walk: Walk) -> None:
    tiny_worker.serve(make_version())
    api = Api(acme)
    assert api.post("/v1/predict", {"model": "tiny", "input": SECRET}).status == 200
    assert samples.flush() == 0, "nothing ends"
    walk(NOW)
    v1_ends()
    assert api.post("/v2/predict", {"model": "tiny", "input": SECRET}).status == 200
    assert api.post("/v1.1/predict", {"model": "tiny", "input": SECRET}).status == 200
    assert api.post("/v1/predict", {"model": "nobody", "input": SECRET}).status == 404
    assert samples.flush() == 0
    assert api.post("/v1/predict", {"model": "tiny", "input": SECRET}, headers={"user-agent": "app/1"}).status == 200
    assert samples.flush() == 1
    row = CallSample.objects.get()
    assert (row.subject, row.api_version, row.model, row.client) == ("v1", "v1", "tiny", "app/1")


def test_pinned_model_versions_are_sampled_however_they_are_named(
    acme: Customer, prices: None, tiny_worker: TinyWorker, walk: Walk
) -> None:
    walk(NOW)
    tiny_ends()
    for version in ("1.0.0", "2.0.0"):
        tiny_worker.serve(make_version_of(version))
    api = Api(acme)
    assert api.post("/v2/predict", {"model": "tiny", "input": SECRET}).status == 200
    assert samples.flush() == 0, "unpinned callers follow the live version"
    pinned = {"model": "tiny@1.0.0", "input": SECRET}
    calls: list[tuple[str, Any]] = [
        ("/v2/predict", pinned),
        ("/v2/models/tiny@1.0.0/predict", {"input": SECRET}),
        ("/v2/batch-predict", {"requests": [{"model": "no"}, {"model": "tiny", "input": "x"}, pinned]}),
    ]
    for minute, (path, body) in enumerate(calls):
        walk(NOW + minute * MINUTE)
        assert api.post(path, body).status == 200
        assert samples.flush() == 1, path
    shape = {"model": "tiny@1.0.0", "input": f"<text, {len(SECRET)} characters>"}
    assert [row.body for row in CallSample.objects.all()] == [shape] * 3


def make_version_of(version: str) -> Any:
    from inference.models import ModelVersion

    return ModelVersion.objects.select_related("model").get(version=version)


# --- Redaction ---------------------------------------------------------------------------------------------------------


def test_shapes_say_what_was_there() -> None:
    assert samples.redact({"input": [[1, 2.5, 3, 4], [5, 6, 7, 8]], "parameters": {"top_k": 3}}) == {
        "input": [[0, 0, 0, "<1 more>"], [0, 0, 0, "<1 more>"]],
        "parameters": {"top_k": 3},
    }
    assert samples.redact({"input": {"Miller": True, "Meier": None}}) == {
        "input": {"<field 1>": False, "<field 2>": None}
    }


canary = st.just("canary-7f3a")
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | canary
keys = st.text(max_size=5) | canary | st.sampled_from(["input", "label", "model", "top_k", "parameters"])
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(keys, inner, max_size=6), max_leaves=30
)


@given(values)
def test_no_text_of_a_customer_survives(value: Any) -> None:
    shape = samples.redact({"model": "tiny", "input": value})
    assert "canary" not in str(shape)
    assert shape["model"] == "tiny"
    assert all(number == 0 for number in numbers_in(shape))


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers_in(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers_in(item)]
    return [value] if isinstance(value, int | float) else []
