"""The same call through each face: the same answer, the same charge, the same headers."""

from typing import Any

import numpy as np
import pytest

from billing.models import LimitRule
from inference.deprecations.samples import store as samples
from tests.conftest import Customer
from tests.parity import faces
from tests.parity.conftest import WITHOUT_BATCHES
from tests.parity.faces import Ask, Face, Labels
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.live_worker import LiveWorker
from tests.support.rest import Api

pytestmark = pytest.mark.usefixtures("prices", "live_worker")

_DIGIT = [[float((3 * row + 5 * column) % 17) for column in range(8)] for row in range(8)]
_LIMITS = ("ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
_ONE = {
    "a text": Ask("sentiment", ("What a wonderful morning!",)),
    "a text in other scripts": Ask("sentiment", ("Ein schöner Morgen, 素晴らしい 🌞",)),
    "the best label": Ask("sentiment", ("What a wonderful morning!",), top_k=1),
    "a pinned version": Ask("sentiment@1.0.0", ("What a wonderful morning!",)),
    "numbers": Ask("digits", (_DIGIT,)),
    "an embedding": Ask("minilm", ("What a wonderful morning!",)),
}


def _charges(customer: Customer) -> list[tuple[Any, ...]]:
    names = ("operation", "model", "model_version", "inputs", "requests", "cached", "held_units")
    return sorted((record.units, *(record.body[name] for name in names)) for record in ledger.records(customer.tenant))


def _assert_same(said: Labels | None, wanted: Labels | None) -> None:
    """The same labels in the same order, and scores to within what float32 and six digits differ by."""
    assert said is not None
    assert wanted is not None
    assert [label for label, _ in said] == [label for label, _ in wanted]
    assert [score for _, score in said] == pytest.approx([score for _, score in wanted], abs=2e-6)


@pytest.mark.parametrize("case", _ONE)
def test_one_input(acme: Customer, globex: Customer, face_name: str, face: Face, case: str) -> None:
    """``globex`` asks REST v2, ``acme`` the face; neither sees the other's cache."""
    ask = _ONE[case]
    if face_name == "rest-v1" and (ask.top_k is not None or case == "an embedding"):
        pytest.skip("v1 has no word for it, and tests of v1 say how it refuses")
    expected, said = faces.rest_v2(globex.secret, ask), face(acme.secret, ask)
    assert expected.kind is None
    (wanted,), (row,) = expected.rows, said.rows
    if wanted.labels is not None:
        _assert_same(row.labels, wanted.labels[:1] if face_name == "rest-v1" else wanted.labels)
    else:
        assert wanted.vector is not None
        assert row.vector is not None
        assert np.allclose(row.vector, wanted.vector, atol=1e-6)
        assert len(row.vector) == 384
    for name in ("model", "version", "units", "cached"):
        value = getattr(said, name)
        assert value is None or value == getattr(expected, name), name
    assert _charges(acme) == _charges(globex)
    assert len(_charges(acme)) == 1
    assert ledger.holds(acme.tenant) == 0


def test_the_second_time_it_is_cached_for_every_face(
    acme: Customer, face_name: str, face: Face, live_worker: LiveWorker
) -> None:
    """What one face computed, another answers from the cache."""
    ask = _ONE["a text"]
    first = faces.rest_v2(acme.secret, ask)
    again = face(acme.secret, ask)
    assert live_worker.inputs == 1
    assert again.cached in {True, None}
    assert again.units in {0, None}
    rows = list(first.rows[0].labels or ())
    _assert_same(again.rows[0].labels, rows[:1] if face_name == "rest-v1" else rows)
    assert sorted((record.units, record.body["cached"]) for record in ledger.records(acme.tenant)) == [
        (0, True),
        (1, False),
    ]


def test_no_cache_is_honoured(acme: Customer, face: Face, live_worker: LiveWorker) -> None:
    face(acme.secret, _ONE["a text"])
    ask = Ask("sentiment", _ONE["a text"].rows, headers={"cache-control": "no-cache"})
    assert face(acme.secret, ask).cached in {False, None}
    assert live_worker.inputs == 2


def test_what_is_known_of_the_protocol_is_on_the_record(acme: Customer, face_name: str, face: Face) -> None:
    face(acme.secret, _ONE["a text"])
    (record,) = ledger.records(acme.tenant)
    named = {"rest-v1": "v1", "rest-v2": "v2", "grpc-stream": "grpc", "oip-http": "oip", "oip-grpc": "oip"}
    protocol = named.get(face_name, face_name)
    assert record.body["api_version"] == protocol


def test_limits_and_the_request_id_are_told(acme: Customer, face_name: str, face: Face) -> None:
    said = face(acme.secret, Ask("sentiment", ("hello",), headers={"x-request-id": "parity-1"}))
    assert said.headers["x-request-id"] == "parity-1"
    assert set(_LIMITS) <= said.headers.keys()
    assert '"burst";q=1000' in said.headers["ratelimit-policy"]
    assert said.headers["traceparent"].startswith("00-")
    (record,) = ledger.records(acme.tenant)
    assert record.body["request_id"] == ("parity-1.1" if face_name == "grpc-stream" else "parity-1")


def test_the_tightest_limit_is_the_one_that_stops_the_caller(acme: Customer, face: Face) -> None:
    LimitRule.objects.filter(plan=acme.plan).update(amount=3, rate=0.0001)
    for left in ("2", "1"):
        said = face(acme.secret, Ask("sentiment", (f"hello {left}",)))
        assert (said.headers["x-ratelimit-limit"], said.headers["x-ratelimit-remaining"]) == ("3", left)


def test_a_pinned_version_that_ends_says_so(acme: Customer, face: Face, published_at_once: None) -> None:
    make_schedule("model_version", "sentiment@1.0.0", "sentiment@2.0.0")
    ask = _ONE["a pinned version"]
    expected = Api(acme).post("/v2/predict", {"model": ask.model, "input": ask.row})
    assert "Deprecation" in expected.headers
    said = face(acme.secret, ask)
    for name in ("Deprecation", "Sunset", "Link", "X-API-Deprecated", "X-API-Sunset-Date"):
        assert said.headers[name.lower()] == expected.headers[name]
    assert "deprecation" not in face(acme.secret, _ONE["a text"]).headers


@pytest.mark.parametrize("row", ["What a wonderful morning!", _DIGIT], ids=["text", "numbers"])
def test_a_call_of_a_version_that_ends_is_sampled(
    acme: Customer, face: Face, published_at_once: None, row: Any
) -> None:
    """Whichever face it came by, it can be shown rewritten and rehearsed: it is kept as the REST call that asks the same."""
    name = "sentiment" if isinstance(row, str) else "digits"
    make_schedule("model_version", f"{name}@1.0.0", f"{name}@2.0.0")
    acme.tenant.keeps_calls = True
    acme.tenant.save()
    assert face(acme.secret, Ask(f"{name}@1.0.0", (row,))).kind is None
    samples.flush()
    kept = samples.latest(tenant_id=acme.tenant.pk, kind="model_version", subject=f"{name}@1.0.0")
    assert kept is not None
    assert kept.body == {"model": f"{name}@1.0.0", "input": row}


_BATCH = Ask("sentiment", ("What a wonderful morning!", "It broke after a day.", "It is a table."))


def test_a_batch(acme: Customer, globex: Customer, face_name: str, face: Face, live_worker: LiveWorker) -> None:
    if face_name in WITHOUT_BATCHES:
        pytest.skip("it has no batches")
    expected, said = faces.rest_v2(globex.secret, _BATCH), face(acme.secret, _BATCH)
    assert len(expected.rows) == 3
    for wanted, row in zip(expected.rows, said.rows, strict=True):
        _assert_same(row.labels, wanted.labels)
    assert said.units in {53, None}
    assert _charges(acme) == _charges(globex)
    assert sum(charge[0] for charge in _charges(acme)) == 53
    assert ledger.holds(acme.tenant) == 0
