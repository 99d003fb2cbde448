"""The same text with more tokens than the model reads through each face: refused and uncharged, or cut and said to be."""

from typing import Any

import grpc
import numpy as np
import pytest
from tokenizers import Tokenizer

from inference.grpc.generated import ml_inference_pb2 as pb
from inference.registry import versions
from mlplatform.lib.errors import ErrorKind
from tests.conftest import Customer
from tests.parity import faces
from tests.parity.conftest import WITHOUT_BATCHES
from tests.parity.faces import Ask, Face
from tests.support import demo_models, ledger
from tests.support.grpc import Grpc, Problem
from tests.support.live_worker import LiveWorker
from tests.support.rest import Answer, Api

pytestmark = pytest.mark.usefixtures("prices", "live_worker")

LIMIT = 256
BEGINNING = "The delivery was quick and the lamp is beautiful. " * 40
LONG = f"{BEGINNING}It broke after a day. "
OTHER = f"{BEGINNING}We love it all the same."
SHORT = "What a wonderful morning!"


def tokens_of(text: str) -> int:
    tokenizer = Tokenizer.from_file(str(demo_models.artefact("minilm") / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return len(tokenizer.encode(text.strip()).ids)


TOLD = f"{tokens_of(LONG):,} tokens"


def say(secret: str, face: Face, *rows: str, model: str = "sentiment", truncate: bool = False) -> Any:
    return face(secret, Ask(model, rows, truncate=truncate))


@pytest.mark.parametrize("model", ["sentiment", "minilm"])
def test_it_is_refused_and_costs_nothing(acme: Customer, face_name: str, face: Face, model: str) -> None:
    if face_name == "rest-v1":
        pytest.skip("v1 cuts, see below")
    said = say(acme.secret, face, LONG, model=model)
    assert said.is_refused_as(ErrorKind.INVALID_INPUT), said
    for part in (TOLD, f"at most {LIMIT}", "truncate", "Nothing was charged"):
        assert part in said.detail
    assert said.headers["x-request-id"]
    ledger.assert_untouched(acme)


def test_v1_cuts_and_says_so(acme: Customer, globex: Customer) -> None:
    """As it always has, for its callers would find texts refused that were answered for years."""
    cut, v2 = say(acme.secret, faces.rest_v1, LONG), say(globex.secret, faces.rest_v2, LONG, truncate=True)
    assert cut.rows[0].cut == v2.rows[0].cut == (tokens_of(LONG), LIMIT)
    assert cut.rows[0].labels[0] == pytest.approx(v2.rows[0].labels[0], abs=2e-6)
    answer = Api(acme).post("/v1.1/predict", {"model": "sentiment", "input": LONG})
    assert answer.headers["X-Input-Truncated"] == f"0;tokens={tokens_of(LONG)};max_tokens={LIMIT}"
    assert (answer.headers["X-Cache"], set(answer.body)) == (
        "HIT",
        {"prediction", "confidence", "model_version", "latency_ms"},
    )
    assert "X-Input-Truncated" not in Api(acme).post("/v1/predict", {"model": "sentiment", "input": SHORT}).headers


def test_what_may_be_cut_is_answered_and_says_so_also_from_the_cache(
    acme: Customer, globex: Customer, face_name: str, face: Face, live_worker: LiveWorker
) -> None:
    expected = say(globex.secret, faces.rest_v2, LONG, truncate=True)
    for _ in range(2):
        said = say(acme.secret, face, LONG, truncate=True)
        (row,) = said.rows
        assert row.cut == expected.rows[0].cut == (tokens_of(LONG), LIMIT)
        wanted = expected.rows[0].labels[:1] if face_name == "rest-v1" else expected.rows[0].labels
        assert [score for _, score in row.labels] == pytest.approx([score for _, score in wanted], abs=2e-6)
    assert live_worker.inputs == 2, "one for each tenant"
    assert sorted(record.units for record in ledger.records(acme.tenant)) == [0, 1]


def test_what_is_beyond_the_limit_is_not_read(acme: Customer, face: Face) -> None:
    """Texts that differ there only have one answer; so it may not pass for an answer to all of the text unasked."""
    first, second = (say(acme.secret, face, text, truncate=True).rows[0] for text in (LONG, OTHER))
    assert first.labels == second.labels
    assert first.cut
    assert second.cut


def test_a_text_that_fits_is_whole_whether_it_may_be_cut_or_not(
    acme: Customer, face: Face, live_worker: LiveWorker
) -> None:
    for truncate in (True, False):
        (row,) = say(acme.secret, face, SHORT, truncate=truncate).rows
        assert (row.kind, row.cut) == (None, None)
    assert live_worker.inputs == 1


def test_a_call_that_does_not_let_it_be_cut_is_not_given_the_cached_answer_to_what_was(
    acme: Customer, face_name: str, face: Face, live_worker: LiveWorker
) -> None:
    if face_name == "rest-v1":
        pytest.skip("v1 cuts")
    say(acme.secret, faces.rest_v1, LONG)
    said = say(acme.secret, face, LONG)
    assert said.is_refused_as(ErrorKind.INVALID_INPUT), said
    assert TOLD in said.detail
    assert live_worker.inputs == 1, "what is known is not computed again"
    assert len(ledger.records(acme.tenant)) == 1


def test_a_batch(acme: Customer, face_name: str, face: Face, live_worker: LiveWorker) -> None:
    """The other rows are answered and paid; protocols without partial answers refuse the call and say what the others cost."""
    if face_name in WITHOUT_BATCHES:
        pytest.skip("it has no batches")
    said = say(acme.secret, face, SHORT, LONG, "It is a table.")
    fields = {"rest-v2": "requests[1].input", "graphql": "inputs[1]", "grpc": "requests[1].text"}
    if face_name in fields:
        assert [row.kind for row in said.rows] == [None, ErrorKind.INVALID_INPUT, None]
        assert said.rows[1].field == fields[face_name]
        assert said.units == ledger.units(acme.tenant) == 52
    else:
        assert said.is_refused_as(ErrorKind.INVALID_INPUT), said
        assert TOLD in said.detail
        assert said.detail.startswith("inputs[0].data[1]: ")
        assert ledger.units(acme.tenant) == 2
    assert ledger.holds(acme.tenant) == 0
    cut = say(acme.secret, face, SHORT, LONG, truncate=True)
    assert [row.cut for row in cut.rows] == [None, (tokens_of(LONG), LIMIT)]


def test_programs_are_told_the_numbers(acme: Customer, grpc_target: str) -> None:
    tokens = tokens_of(LONG)
    problem = Api(acme).post("/v2/predict", {"model": "sentiment", "input": LONG}).body
    assert (problem["status"], problem["field"]) == (422, "input")
    assert (problem["tokens"], problem["max_tokens"]) == (tokens, LIMIT)
    query = 'query ($text: String!) { predict(model: "sentiment", inputData: $text) { units } }'
    (error,) = Api(acme).post("/graphql", {"query": query, "variables": {"text": LONG}}).body["errors"]
    assert (error["extensions"]["code"], error["extensions"]["field"]) == ("INVALID_INPUT", "inputData")
    assert (error["extensions"]["tokens"], error["extensions"]["maxTokens"]) == (tokens, LIMIT)
    assert "truncate: true" in error["message"]
    wanted = pb.PredictRequest(model_name="sentiment", text=LONG)
    with Grpc(grpc_target, secret=acme.secret) as client:
        with pytest.raises(Problem) as caught:
            client.call(client.stub.Predict, wanted, headers=(), timeout=30)
        many = pb.BatchPredictRequest(requests=[wanted])
        (item,) = client.call(client.stub.BatchPredict, many, headers=(), timeout=30).message.responses
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    info: Any = caught.value.details["ErrorInfo"]
    assert (info.metadata["tokens"], info.metadata["max_tokens"]) == (str(tokens), str(LIMIT))
    assert (item.status.details["tokens"], item.status.field) == (str(tokens), "requests[0].text")
    ledger.assert_untouched(acme)


def embed(customer: Customer, texts: Any, **more: Any) -> Answer:
    return Api(customer).post("/openai/v1/embeddings", {"model": "minilm", "input": texts, **more})


def test_openai_refuses_in_its_own_shape(acme: Customer) -> None:
    for texts, place in ((LONG, "input"), ([SHORT, LONG], "input[1]")):
        answer = embed(acme, texts)
        assert answer.status == 400
        error = answer.body["error"]
        assert (error["type"], error["param"], error["code"]) == (
            "invalid_request_error",
            place,
            "context_length_exceeded",
        )
        assert TOLD in error["message"]
        assert '"truncate_prompt_tokens": -1' in error["message"]
    assert ledger.units(acme.tenant) == 1, "the short one"


def test_openai_cuts_as_it_is_asked(acme: Customer, globex: Customer) -> None:
    whole = embed(acme, [SHORT, LONG], truncate_prompt_tokens=-1)
    assert whole.headers["X-Input-Truncated"] == f"1;tokens={tokens_of(LONG)};max_tokens={LIMIT}"
    expected = say(globex.secret, faces.rest_v2, LONG, model="minilm", truncate=True)
    np.testing.assert_allclose(whole.body["data"][1]["embedding"], expected.rows[0].vector, atol=1e-6)
    few = embed(acme, "What a wonderful morning!", truncate_prompt_tokens=4)
    assert few.headers["X-Input-Truncated"] == "0;tokens=7;max_tokens=4"
    two = embed(acme, "What a")
    np.testing.assert_allclose(few.body["data"][0]["embedding"], two.body["data"][0]["embedding"], atol=1e-6)
    assert "X-Input-Truncated" not in two.headers
    same = embed(acme, LONG, truncate_prompt_tokens=LIMIT)
    assert (same.headers["X-Cache"], same.body["data"][0]["embedding"]) == ("HIT", whole.body["data"][1]["embedding"])


@pytest.mark.parametrize("tokens", [0, -2, 257, True, 1.0, "8"])
def test_openai_refuses_a_number_of_tokens_that_cannot_be_meant(acme: Customer, tokens: Any) -> None:
    answer = embed(acme, SHORT, truncate_prompt_tokens=tokens)
    assert (answer.status, answer.body["error"]["param"]) == (400, "truncate_prompt_tokens")
    ledger.assert_untouched(acme)
    assert embed(acme, SHORT, truncate_prompt_tokens=None).status == 200


def test_the_limit_is_told_by_every_list_of_models(acme: Customer) -> None:
    assert versions.resolve("minilm").max_tokens == LIMIT
    told = {
        model["name"]: [version["input"].get("max_tokens") for version in model["versions"]]
        for model in Api(acme).get("/v2/models").body["models"]
    }
    assert told == {"digits": [None], "minilm": [LIMIT], "recommender": [None], "sentiment": [LIMIT, LIMIT]}
    for name, expected in (("minilm", {"max_tokens": LIMIT}), ("digits", None)):
        said = Api(acme).get(f"/oip/v2/models/{name}").body.get("parameters", {})
        assert said.get("max_tokens") == (expected or {}).get("max_tokens")
    query = '{ model(name: "minilm") { liveVersion { inputSchema } } }'
    found = Api(acme).post("/graphql", {"query": query}).body
    assert found["data"]["model"]["liveVersion"]["inputSchema"]["max_tokens"] == LIMIT
