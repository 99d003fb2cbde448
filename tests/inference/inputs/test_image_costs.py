"""What an image costs to unpack is paid before it is unpacked: by its head first, within a budget, and within the deadline."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image
from pytest_django import Settings

from billing import contracts
from billing.models import Plan, Subscription
from inference.inputs import images
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys
from tests.conftest import Customer
from tests.support import ledger
from tests.support.input_kinds import Kinds, file_of, kinds, picture
from tests.support.rest import Api, assert_problem
from tests.support.tiny_model import tiny_worker

__all__ = ["kinds", "tiny_worker"]

pytestmark = pytest.mark.usefixtures("prices")


def heavy() -> str:
    """A PNG of twelve kilobytes with 25 million pixels, one bit each, of which one colour is transparent."""
    made = io.BytesIO()
    Image.new("1", (5000, 5000), 1).save(made, "PNG", transparency=1)
    assert len(made.getvalue()) < 20_000
    return base64.b64encode(made.getvalue()).decode()


def damaged() -> bytes:
    """A head that is right, and half of what should follow it."""
    data = file_of(np.random.RandomState(1).randint(0, 256, (64, 64, 3)).astype(np.uint8))
    return data[: len(data) // 2]


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fields of the images that were unpacked."""
    seen: list[str] = []
    real = images.pixels

    def pixels(data: bytes, schema: object, *, field: str, until: float | None = None) -> object:
        seen.append(field)
        return real(data, schema, field=field, until=until)  # type: ignore[arg-type]

    monkeypatch.setattr(images, "pixels", pixels)
    return seen


def paid_inputs(customer: Customer) -> int:
    return sum(record.body["inputs"] for record in ledger.records(customer.tenant))


def batch(*encoded: str) -> dict[str, object]:
    return {"requests": [{"model": "photos", "input": {"image": one}} for one in encoded]}


def test_a_tenant_that_may_spend_nothing_has_nothing_unpacked(
    acme: Customer, kinds: Kinds, unpacked: list[str]
) -> None:
    Subscription.objects.all().delete()
    answer = Api(acme).post("/v2/batch-predict", batch(*[heavy()] * 4))
    assert answer.status in {403, 429}, answer.body
    assert unpacked == []
    ledger.assert_untouched(acme)


def test_the_images_of_a_call_share_a_budget(
    acme: Customer, kinds: Kinds, unpacked: list[str], settings: Settings
) -> None:
    settings.MAX_CALL_PIXELS = 3 * picture().shape[0] * picture().shape[1]
    encoded = [base64.b64encode(file_of(picture() // divisor)).decode() for divisor in (1, 2, 3, 4)]
    answer = Api(acme).post("/v2/batch-predict", batch(*encoded))
    assert answer.status == 200
    assert ["predictions" in one for one in answer.body["responses"]] == [True, True, True, False]
    assert "Split it" in str(answer.body["responses"][3])
    assert unpacked == ["requests[0].input", "requests[1].input", "requests[2].input"]
    assert paid_inputs(acme) == 3


def test_a_key_that_sends_damaged_images_all_the_time_waits(
    acme: Customer, kinds: Kinds, unpacked: list[str], settings: Settings
) -> None:
    settings.MAX_CALL_PIXELS, settings.PIXELS_PER_KEY_PER_S = 2 * 64 * 64, 1
    api = Api(acme)
    body = {"model": "photos", "input": {"image": base64.b64encode(damaged()).decode()}}
    for _ in range(2):
        assert_problem(api.post("/v2/predict", body), ErrorKind.INVALID_INPUT, "damaged or cut off")
    answer = api.post("/v2/predict", body)
    assert_problem(answer, ErrorKind.TOO_MANY_ATTEMPTS, "more pixels")
    assert int(answer.headers["Retry-After"]) > 1000
    assert len(unpacked) == 2
    ledger.assert_untouched(acme)


def test_a_plan_says_how_many_pixels_all_keys_of_its_tenants_send(
    acme: Customer, globex: Customer, kinds: Kinds, unpacked: list[str], settings: Settings
) -> None:
    settings.MAX_CALL_PIXELS = 64 * 64
    Plan.objects.filter(pk=acme.plan.pk).update(pixels_per_s=2)
    contracts.plan_changed(plan=acme.plan)
    body = {"model": "photos", "input": {"image": base64.b64encode(damaged()).decode()}}
    assert_problem(Api(acme).post("/v2/predict", body), ErrorKind.INVALID_INPUT, "damaged or cut off")
    another = api_keys.issue(tenant=acme.tenant, name="another", scopes=["predict"])
    answer = Api(dataclasses.replace(acme, key=another.key, secret=another.secret)).post("/v2/predict", body)
    assert_problem(answer, ErrorKind.TOO_MANY_ATTEMPTS, "This tenant sends more pixels than the 2 a second")
    assert int(answer.headers["Retry-After"]) > 1000
    assert_problem(Api(globex).post("/v2/predict", body), ErrorKind.INVALID_INPUT, "damaged or cut off")
    assert len(unpacked) == 2
    ledger.assert_untouched(acme)


def test_a_damaged_image_is_not_paid_and_its_neighbours_are_answered(acme: Customer, kinds: Kinds) -> None:
    fine = base64.b64encode(file_of(picture())).decode()
    answer = Api(acme).post("/v2/batch-predict", batch(fine, base64.b64encode(damaged()).decode()))
    assert answer.status == 200
    assert ["predictions" in one for one in answer.body["responses"]] == [True, False]
    assert paid_inputs(acme) == 1
    assert ledger.holds(acme.tenant) == 0


def test_an_image_that_waits_too_long_to_be_unpacked_is_refused_in_time(acme: Customer, kinds: Kinds) -> None:
    taken = [images.unpacking.acquire(blocking=False) for _ in range(2)]
    assert taken == [True, True]
    try:
        body = {"model": "photos", "input": {"image": base64.b64encode(file_of(picture())).decode()}}
        answer = Api(acme).post("/v2/predict", body, headers={"x-request-timeout": "1"})
    finally:
        for _ in taken:
            images.unpacking.release()
    assert_problem(answer, ErrorKind.TIMEOUT)
    ledger.assert_untouched(acme)


def test_a_cached_answer_needs_no_unpacking(acme: Customer, kinds: Kinds, unpacked: list[str]) -> None:
    body = {"model": "photos", "input": {"image": base64.b64encode(file_of(picture())).decode()}}
    first, second = (Api(acme).post("/v2/predict", body) for _ in range(2))
    assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("MISS", "HIT")
    assert first.body["predictions"] == second.body["predictions"]
    assert len(unpacked) == 1
