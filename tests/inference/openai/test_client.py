"""OpenAI's own Python client, with ``base_url`` and a key alone, against a real server."""

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pytest_django.live_server_helper import LiveServer

from billing.models import LimitRule
from tenants import api_keys
from tests.conftest import Customer, make_customer
from tests.support import ledger
from tests.support.live_worker import LiveWorker
from tests.support.rest import structured_list

openai = pytest.importorskip("openai")

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("prices")]

CAT, DOG = "A cat sits on the mat.", "A dog runs through the park."


def client_of(live_server: LiveServer, secret: str, *, retries: int = 0) -> Any:
    return openai.OpenAI(base_url=f"{live_server.url}/openai/v1", api_key=secret, max_retries=retries, timeout=60)


@pytest.fixture
def client(acme: Customer, live_server: LiveServer) -> Iterator[Any]:
    with client_of(live_server, acme.secret) as client:
        yield client


def test_one_text(acme: Customer, client: Any, live_worker: LiveWorker) -> None:
    answer = client.embeddings.create(model="minilm", input=CAT)
    assert answer.object == "list"
    assert answer.model == "minilm@1.0.0"
    (embedding,) = answer.data
    assert (embedding.index, embedding.object, len(embedding.embedding)) == (0, "embedding", 384)
    assert np.linalg.norm(embedding.embedding) == pytest.approx(1, rel=1e-4)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (1, 1)
    (record,) = ledger.records(acme.tenant)
    assert (record.units, record.body["operation"], record.body["api_version"]) == (1, "predict", "openai")


def test_several_texts_are_a_batch_and_keep_their_order(acme: Customer, client: Any, live_worker: LiveWorker) -> None:
    several = client.embeddings.create(model="minilm", input=[CAT, DOG, CAT])
    assert [item.index for item in several.data] == [0, 1, 2]
    vectors = [item.embedding for item in several.data]
    assert vectors[0] == vectors[2] != vectors[1]
    assert {record.body["operation"] for record in ledger.records(acme.tenant)} == {"batch"}
    assert several.usage.total_tokens == ledger.units(acme.tenant)
    assert several.usage.total_tokens >= 52


def test_as_many_texts_as_openai_takes(acme: Customer, client: Any, live_worker: LiveWorker) -> None:
    """More than are held one by one, as one charge; repeated texts are computed once."""
    LimitRule.objects.filter(plan=acme.plan).update(amount=10_000)
    answer = client.embeddings.create(model="minilm", input=[f"Text {number % 40}." for number in range(2048)])
    assert [item.index for item in answer.data] == list(range(2048))
    assert answer.data[3].embedding == answer.data[2003].embedding != answer.data[4].embedding
    assert answer.usage.total_tokens == ledger.units(acme.tenant) == 40 + 50
    assert live_worker.inputs == 40
    assert len(ledger.records(acme.tenant)) == 3


def test_both_formats_hold_the_same_numbers(client: Any, live_worker: LiveWorker) -> None:
    as_floats = client.embeddings.create(model="minilm", input=CAT, encoding_format="float").data[0].embedding
    as_default = client.embeddings.create(model="minilm", input=CAT).data[0].embedding
    as_text = client.embeddings.create(model="minilm", input=CAT, encoding_format="base64").data[0].embedding
    assert isinstance(as_text, str)
    decoded = np.frombuffer(base64.b64decode(as_text), dtype="<f4")
    assert np.asarray(as_floats, dtype=np.float32).tolist() == decoded.tolist()
    assert np.asarray(as_default, dtype=np.float32).tolist() == decoded.tolist()


def test_a_cached_answer_says_that_it_cost_nothing(client: Any, live_worker: LiveWorker) -> None:
    client.embeddings.create(model="minilm", input=CAT)
    again = client.embeddings.with_raw_response.create(model="minilm", input=[CAT])
    assert again.headers["x-cache"] == "HIT"
    assert again.parse().usage.total_tokens == 0


def test_what_the_api_has_beside_is_accepted(client: Any, live_worker: LiveWorker) -> None:
    answer = client.embeddings.create(model="minilm@1.0.0", input=CAT, dimensions=384, user="customer-17")
    assert len(answer.data[0].embedding) == 384


@pytest.mark.parametrize("name", ["dimensions", "encoding_format", "truncate_prompt_tokens", "user"])
def test_null_is_absent(client: Any, live_worker: LiveWorker, name: str) -> None:
    body = {"model": "minilm", "input": CAT}
    client.post("/embeddings", body=body, cast_to=object)
    absent = client.post("/embeddings", body=body, cast_to=object)
    assert client.post("/embeddings", body=body | {name: None}, cast_to=object) == absent


@pytest.mark.parametrize("name", ["input", "model"])
def test_what_is_needed_and_null_is_missing(acme: Customer, client: Any, live_worker: LiveWorker, name: str) -> None:
    body = {"model": "minilm", "input": CAT}
    errors = []
    for one in ({**body, name: None}, {key: value for key, value in body.items() if key != name}):
        with pytest.raises(openai.BadRequestError) as caught:
            client.post("/embeddings", body=one, cast_to=object)
        errors.append(caught.value.body)
    assert errors[0] == errors[1]
    assert errors[0]["param"] == name
    ledger.assert_untouched(acme)


def test_headers_are_those_of_every_call(client: Any, live_worker: LiveWorker) -> None:
    raw = client.embeddings.with_raw_response.create(
        model="minilm", input=CAT, extra_headers={"x-request-id": "order-17"}
    )
    assert raw.headers["x-request-id"] == "order-17"
    assert raw.headers["x-cache"] == "MISS"
    assert structured_list(raw.headers["ratelimit"])["included"]["r"] == 999_999
    assert raw.parse()._request_id == "order-17"


def test_models_are_those_that_embed_text(client: Any, live_worker: LiveWorker) -> None:
    listed = client.models.list()
    assert [model.id for model in listed] == ["minilm"]
    assert listed.data[0].created > 1_700_000_000
    assert listed.data[0].owned_by == "mlplatform"
    assert client.models.retrieve("minilm").id == "minilm"
    assert client.models.retrieve("minilm@1.0.0").id == "minilm@1.0.0"
    for other in ("sentiment", "digits", "no-such"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve(other)
        assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"input": ""}, "input", "empty"),
        ({"input": []}, "input", "at least one"),
        ({"input": [CAT, " "]}, "input[1]", "empty"),
        ({"input": [CAT, 5]}, "input", "Token numbers"),
        ({"input": [1, 2, 3]}, "input", "Token numbers"),
        ({"input": [[1, 2], [3]]}, "input[0]", "Token numbers"),
        ({"input": [CAT, None]}, "input[1]", "text"),
        ({"input": {"text": CAT}}, "input", "text"),
        ({"input": ["x"] * 2049}, "input", "2,048"),
        ({"input": CAT, "dimensions": 256}, "dimensions", "384"),
        ({"input": CAT, "dimensions": "384"}, "dimensions", "whole number"),
        ({"input": CAT, "encoding_format": "hex"}, "encoding_format", "base64"),
        ({"input": CAT, "user": 17}, "user", "text"),
        ({"input": CAT, "truncate": True}, "truncate", "Unknown field"),
        ({"input": CAT, "model": ""}, "model", "GET /openai/v1/models"),
        ({"input": CAT, "model": 5}, "model", "text"),
        ({"input": CAT, "model": "sentiment"}, "model", "minilm"),
        ({"input": CAT, "model": "digits"}, "model", "minilm"),
    ],
)
def test_a_bad_call_is_a_bad_request(
    acme: Customer, client: Any, live_worker: LiveWorker, body: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/embeddings", body={"model": "minilm"} | body, cast_to=object)
    error = caught.value
    assert (error.param, error.type) == (param, "invalid_request_error")
    assert words in error.body["message"]
    assert error.request_id
    ledger.assert_untouched(acme)


def test_each_refusal_is_the_exception_that_the_client_has_for_it(
    acme: Customer, client: Any, live_server: LiveServer, live_worker: LiveWorker
) -> None:
    reader = api_keys.issue(tenant=acme.tenant, name="Reader", scopes=["models:read"])
    single = api_keys.issue(tenant=acme.tenant, name="Single", scopes=["predict"])
    narrow = api_keys.issue(tenant=acme.tenant, name="Narrow", allowed_models=["digits"])
    with pytest.raises(openai.AuthenticationError) as unknown:
        client_of(live_server, "sk-nobody").embeddings.create(model="minilm", input=CAT)
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.PermissionDeniedError, match="'predict'"):
        client_of(live_server, reader.secret).embeddings.create(model="minilm", input=CAT)
    with pytest.raises(openai.PermissionDeniedError, match="'batch'"):
        client_of(live_server, single.secret).embeddings.create(model="minilm", input=[CAT, DOG])
    with pytest.raises(openai.NotFoundError):
        client_of(live_server, narrow.secret).embeddings.create(model="minilm", input=CAT)
    assert list(client_of(live_server, narrow.secret).models.list()) == []
    with pytest.raises(openai.NotFoundError) as missing:
        client.embeddings.create(model="text-embedding-3-small", input=CAT)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="embeddings and models"):
        client.chat.completions.create(model="minilm", messages=[{"role": "user", "content": CAT}])
    ledger.assert_untouched(acme)


def test_a_used_up_limit_is_a_rate_limit_error(live_server: LiveServer, live_worker: LiveWorker) -> None:
    small = make_customer("small", included_units=60)
    client = client_of(live_server, small.secret)
    client.embeddings.create(model="minilm", input=[CAT, DOG])
    with pytest.raises(openai.RateLimitError) as caught:
        client.embeddings.create(model="minilm", input=["One more.", "And another."])
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert ledger.units(small.tenant) == 52


def test_a_text_that_is_too_long_is_refused_or_cut_as_the_client_asks(
    acme: Customer, client: Any, live_worker: LiveWorker
) -> None:
    long = f"{CAT} " * 100
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="minilm", input=long)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")
    ledger.assert_untouched(acme)
    cut = client.embeddings.with_raw_response.create(
        model="minilm", input=long, extra_body={"truncate_prompt_tokens": -1}
    )
    assert cut.headers["x-input-truncated"] == "0;tokens=702;max_tokens=256"
    assert len(cut.parse().data[0].embedding) == 384
