"""Items without a vector of the encoder's present version, and changes of the models."""

import json
from pathlib import Path

import numpy as np
import pytest
from pytest_django import Settings

from billing.metering import ledger as metering_ledger
from billing.metering import reports as usage_reports
from billing.models import LimitKind, LimitRule, Price
from inference.models import Item, MLModel, ModelVersion
from inference.recommendations import embedding
from inference.registry import versions
from mlplatform import demo_data
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.conftest import Customer
from tests.inference.recommendations.asking import FEE, ask, charged, copy_of, ids, one
from tests.support import ledger
from tests.support.audience import books, entry, make_user, upsert
from tests.support.live_worker import LiveWorker
from tests.support.rest import Api
from tests.support.windows import AGES_S

pytestmark = pytest.mark.usefixtures("prices")


def bare(customer: Customer) -> None:
    """Items as they come without a call: not embedded."""
    Item.objects.bulk_create(
        Item(tenant=customer.tenant, external_id=one.external_id, title=one.title, categories=list(one.categories))
        for one in books()
    )


def test_items_without_a_vector_get_one_within_the_call_at_the_platforms_expense(
    acme: Customer, live_worker: LiveWorker
) -> None:
    """A recommendation costs what the document says, for items of the demo too, and takes nothing else from a limit."""
    bare(acme)
    LimitRule.objects.create(
        plan=acme.plan, name="calls", kind=LimitKind.FIXED_WINDOW, window_s=AGES_S, counts="requests", amount=1
    )
    LimitRule.objects.filter(plan=acme.plan, name="burst").update(amount=1, rate=0.001)
    user = make_user(acme, likes=("g1", "g2"))
    answer = ask(acme, user)
    assert set(ids(one(answer))[:2]) == {"g3", "g4"}
    assert (answer.units, answer.embedded, one(answer).units) == (1, 8, 1)
    assert charged(acme) == sorted([*[("predict", "minilm", 0)] * 8, ("predict", "recommender", 1)])
    assert [r.body["requests"] for r in ledger.records(acme.tenant) if r.body["model"] == "minilm"] == [0] * 8
    assert set(Item.objects.values_list("embedded_by", flat=True)) == {"minilm@1.0.0"}
    metering_ledger.drain()
    today = clock.now().date()
    report = usage_reports.summary(tenant_id=acme.tenant.pk, first=today, last=today, by="day")
    assert (report.total.calls, report.total.inputs, report.total.units) == (1, 9, 1)


def test_the_first_recommendation_of_the_demo_costs_one_unit(
    live_worker: LiveWorker, settings: Settings, tmp_path: Path
) -> None:
    """By the demo's own prices, where an embedding is 5 units; it cost 201."""
    Price.objects.all().delete()
    settings.DATA_DIR = tmp_path
    secret = json.loads(demo_data.seed().read_text())["tenants"]["acme"]["api_key"]
    for expected in ({"units": 1, "embedded_items": 40}, {"units": 0, "embedded_items": 0}):
        answer = Api(secret=secret).get("/v2/users/reader-1/recommendations")
        assert answer.body["usage"] == expected


def promote_copy(live_worker: LiveWorker) -> None:
    """A later version of the encoder with the same weights: what matters is that it is another one."""
    versions.promote(version=copy_of("minilm", live_worker))
    versions.forget()


def test_vectors_of_two_versions_do_not_mix(acme: Customer, live_worker: LiveWorker, settings: Settings) -> None:
    upsert(acme)
    user = make_user(acme, likes=("g1", "g2"))
    promote_copy(live_worker)
    settings.MAX_BATCH_REQUESTS = 5
    answer = ask(acme, user)
    assert answer.embedded == 5
    assert len(one(answer).items) == 3, "two liked and three others have a vector of the new version"
    assert Item.objects.filter(embedded_by="minilm@2.0.0").count() == 5
    answer = ask(acme, user)
    assert (answer.embedded, len(one(answer).items)) == (3, 6)
    assert set(Item.objects.values_list("embedded_by", flat=True)) == {"minilm@2.0.0"}


def test_a_change_of_the_model_costs_the_customer_nothing(acme: Customer, live_worker: LiveWorker) -> None:
    """Neither with the next recommendation, nor where the items are sent again as they were."""
    upsert(acme)
    user = make_user(acme, likes=("g1", "g2"))
    assert ask(acme, user).units == 1
    promote_copy(live_worker)
    spent = ledger.units(acme.tenant)
    made = upsert(acme, *books()[:4], entry("new", "A new one"))
    assert (made.embedded, made.units, made.quote.embedding_units) == (5, FEE + 1, FEE + 1)
    answer = ask(acme, user)
    assert (answer.embedded, answer.units) == (4, 1)
    assert ledger.units(acme.tenant) == spent + FEE + 1 + 1
    assert set(Item.objects.values_list("embedded_by", flat=True)) == {"minilm@2.0.0"}


def test_a_text_that_changed_meanwhile_keeps_no_vector_of_the_old(
    acme: Customer, live_worker: LiveWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare(acme)
    user = make_user(acme, likes=("g1",))
    real = embedding.embed

    def slow(*arguments: object, **named: object) -> object:
        made = real(*arguments, **named)  # type: ignore[arg-type]
        monkeypatch.undo()
        upsert(acme, entry("g3", "Something else altogether", "garden"))
        return made

    monkeypatch.setattr("inference.recommendations.missing.embed", slow)
    ask(acme, user)
    changed = Item.objects.get(external_id="g3")
    assert changed.title == "Something else altogether"
    minilm = live_worker.worker.models.get(ModelVersion.objects.get(model__name="minilm"))
    expected = minilm.runtime.run(["Something else altogether\ngarden"])[0]
    np.testing.assert_allclose(np.frombuffer(changed.embedding or b"", "<f4"), expected, atol=1e-5)


def test_without_a_recommender_it_says_so(acme: Customer, live_worker: LiveWorker) -> None:
    user = make_user(acme)
    ModelVersion.objects.filter(model__name="recommender").delete()
    MLModel.objects.filter(name="recommender").delete()
    versions.forget()
    with pytest.raises(PlatformError) as raised:
        ask(acme, user)
    assert raised.value.kind is ErrorKind.NOT_FOUND
