"""``/v2/users``, ``/v2/items``, ``/v2/likes`` and recommendations, as a customer's program meets them."""

from urllib.parse import quote

import pytest
from pytest_django import Settings

from inference.models import Item
from inference.recommendations import items
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys
from tests.conftest import Customer
from tests.inference.rest.audiences import ADA, BODIES, FEE, fill, rows
from tests.support import ledger
from tests.support.audience import GARDEN, SPACE
from tests.support.live_worker import LiveWorker
from tests.support.rest import Api, assert_limit_headers, assert_problem

pytestmark = pytest.mark.usefixtures("prices")


def test_from_nothing_to_recommendations(acme: Customer, live_worker: LiveWorker) -> None:
    api = Api(acme)
    answer = api.post("/v2/items", {"items": BODIES})
    assert answer.body == {
        "created": 8,
        "updated": 0,
        "usage": {"units": FEE + 8, "embedded_items": 8},
        "quote": {"embedding_units": FEE + 8, "recommendation_units": 1},
    }
    assert assert_limit_headers(answer)["included"]["r"] == 1_000_000 - FEE - 8
    assert api.post("/v2/users", {"users": [ADA]}).body == {"created": 1, "updated": 0}
    answer = api.post(
        "/v2/likes", {"likes": [{"user_id": "ada", "item_id": "g1"}, {"user_id": "ada", "item_id": "g2"}]}
    )
    assert answer.body == {"created": 2, "existing": 0}
    answer = api.get("/v2/users/ada/recommendations?limit=3")
    assert answer.status == 200
    assert answer.body["user_id"] == "ada"
    assert [one["item_id"] for one in answer.body["items"]][:2] in (["g3", "g4"], ["g4", "g3"])
    assert len(answer.body["items"]) == 3
    best = answer.body["items"][0]
    assert set(best) == {"item_id", "title", "score", "categories"}
    assert 0 < best["score"] < 1
    assert (answer.body["basis"], answer.body["model"], answer.body["model_version"]) == (
        "likes",
        "recommender",
        "1.0.0",
    )
    assert answer.body["usage"] == {"units": 1, "embedded_items": 0}
    assert answer.body["cached"] is False
    assert assert_limit_headers(answer)["included"]["r"] == 1_000_000 - FEE - 9
    again = api.get("/v2/users/ada/recommendations?limit=3")
    assert (again.body["cached"], again.body["usage"]["units"]) == (True, 0)
    assert again.body["items"] == answer.body["items"]


def test_one_is_read_and_forgotten(acme: Customer, live_worker: LiveWorker) -> None:
    api = fill(acme)
    user = api.get("/v2/users/ada").body
    assert {name: user[name] for name in ADA} == ADA
    item = api.get("/v2/items/g1").body
    assert (item["title"], item["categories"], item["embedded_by"]) == (GARDEN["g1"], ["garden"], "minilm@1.0.0")
    assert "embedding" not in item
    likes = api.get("/v2/users/ada/likes").body
    assert [(one["item_id"], one["title"]) for one in likes["likes"]] == [("g1", GARDEN["g1"]), ("g2", GARDEN["g2"])]
    assert likes["next_cursor"] is None
    assert api.call("DELETE", "/v2/users/ada/likes/g1").body == {"deleted": True}
    assert api.call("DELETE", "/v2/items/g2").body == {"deleted": True}
    assert rows() == (1, 7, 0)
    assert api.call("DELETE", "/v2/users/ada").body == {"deleted": True}
    for path in ("/v2/users/ada", "/v2/items/g2", "/v2/users/ada/likes", "/v2/users/ada/recommendations"):
        assert_problem(api.get(path), ErrorKind.NOT_FOUND)
    for path in ("/v2/users/ada", "/v2/items/g2", "/v2/users/ada/likes/g1"):
        assert_problem(api.call("DELETE", path), ErrorKind.NOT_FOUND)


def test_pages(acme: Customer, live_worker: LiveWorker) -> None:
    api = fill(acme)
    api.post("/v2/users", {"users": [{"external_id": name} for name in ("bob", "cyd")]})
    for kind, expected in (("users", ["ada", "bob", "cyd"]), ("items", sorted([*GARDEN, *SPACE]))):
        seen: list[str] = []
        path = f"/v2/{kind}?limit=2"
        while path:
            body = api.get(path).body
            seen += [row["external_id"] for row in body[kind]]
            cursor = body["next_cursor"]
            path = f"/v2/{kind}?limit=2&cursor={quote(cursor)}" if cursor else ""
        assert seen == expected


@pytest.mark.parametrize("external_id", ["auth0|5f7c", "ada@example.org", "a+b~c=d,e.f_g-h:i", "A" * 128, "0"])
def test_ids_of_many_kinds_work_in_addresses(acme: Customer, external_id: str) -> None:
    api = Api(acme)
    assert api.post("/v2/users", {"users": [{"external_id": external_id}]}).status == 200
    answer = api.get(f"/v2/users/{quote(external_id, safe='')}")
    assert answer.body["external_id"] == external_id
    assert api.get("/v2/users?limit=1").body["users"][0]["external_id"] == external_id


def test_new_items_need_the_scope_of_batches(acme: Customer, live_worker: LiveWorker) -> None:
    key = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["endusers:write"])
    answer = Api(secret=key.secret).post("/v2/items", {"items": BODIES})
    assert_problem(answer, ErrorKind.FORBIDDEN, "batch")
    assert rows() == (0, 0, 0)


def test_what_items_and_recommendations_cost_is_said_before(acme: Customer, live_worker: LiveWorker) -> None:
    api = Api(acme)
    expected = {
        "created": 8,
        "updated": 0,
        "usage": {"units": 0, "embedded_items": 0},
        "quote": {"embedding_units": FEE + 8, "recommendation_units": 1},
    }
    answer = api.post("/v2/items?dry_run=true", {"items": BODIES})
    assert (answer.status, answer.body) == (200, expected)
    assert rows() == (0, 0, 0)
    assert live_worker.inputs == 0
    ledger.assert_untouched(acme)
    assert_problem(api.post("/v2/items?dry_run=yes", {"items": BODIES}), ErrorKind.INVALID_INPUT, "dry_run=true")
    charged = api.post("/v2/items?dry_run=false", {"items": BODIES}).body
    assert charged["usage"]["units"] == expected["quote"]["embedding_units"]  # type: ignore[index]
    changed = [BODIES[0] | {"title": "Something else"}, *BODIES[1:]]
    answer = api.post("/v2/items?dry_run=true", {"items": changed})
    assert (answer.body["created"], answer.body["updated"]) == (0, 8)
    assert answer.body["quote"] == {"embedding_units": FEE + 1, "recommendation_units": 1}
    assert "Something else" not in str(api.get("/v2/items").body)


def test_the_quote_of_a_recommendation_grows_with_the_items(
    acme: Customer, live_worker: LiveWorker, prices: None
) -> None:
    Item.objects.bulk_create(
        Item(tenant=acme.tenant, external_id=f"bare-{number}", title="Bare") for number in range(125)
    )
    quoted = [
        Api(acme).post("/v2/items?dry_run=true", {"items": BODIES[:count]}).body["quote"]["recommendation_units"]
        for count in (3, 4)
    ]
    assert quoted == [1, 2], "128 candidates are one input"


def test_a_full_catalogue_says_so(acme: Customer, live_worker: LiveWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "MAX_ITEMS", 7)
    assert_problem(Api(acme).post("/v2/items", {"items": BODIES}), ErrorKind.CONFLICT, "7 items")
    assert rows() == (0, 0, 0)


def test_the_recommender_answers_predictions_with_scores(
    acme: Customer, live_worker: LiveWorker, settings: Settings
) -> None:
    near, far = [1.0] + [0.0] * 383, [0.0, 1.0] + [0.0] * 382
    tensor = [near] + [[0.0] * 384] * 15 + [near, far] + [[0.0] * 384] * 126
    api = Api(acme)
    answer = api.post("/v2/predict", {"model": "recommender", "input": tensor})
    assert answer.status == 200
    assert len(answer.body["scores"]) == 128
    assert answer.body["scores"][0] > 0.9
    assert answer.body["scores"][1] < 0.1
    assert set(answer.body["scores"][2:]) == {0.0}
    assert not {"embedding", "predictions"} & set(answer.body)
    (one,) = api.post("/v2/batch-predict", {"requests": [{"model": "recommender", "input": tensor}]}).body["responses"]
    assert one["scores"] == answer.body["scores"]
    for version in ("v1", "v1.1"):
        refused = api.post(f"/{version}/predict", {"model": "recommender", "input": tensor})
        assert_problem(refused, ErrorKind.INVALID_INPUT, "scores", "v2", field="model")
    cut = {"model": "recommender", "input": tensor, "parameters": {"top_k": 3}}
    assert_problem(api.post("/v2/predict", cut), ErrorKind.INVALID_INPUT, "scores", field="parameters.top_k")
    assert_problem(
        api.post("/v2/predict", {"model": "recommender", "input": [[2.0] * 384] * 144}),
        ErrorKind.INVALID_INPUT,
        field="input[0][0]",
    )


@pytest.mark.parametrize("version", ["v1", "v1.1"])
def test_older_api_versions_do_not_have_it(acme: Customer, version: str) -> None:
    for path in ("users", "items", "users/ada", "users/ada/recommendations"):
        assert_problem(Api(acme).get(f"/{version}/{path}"), ErrorKind.NOT_FOUND, "v2")
