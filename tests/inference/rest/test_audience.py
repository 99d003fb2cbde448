"""``/v2/users``, ``/v2/items``, ``/v2/likes`` and recommendations, as a customer's program meets them."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from pytest_django import Settings

from billing.models import LimitRule
from inference.models import EndUser, Item, Like
from inference.recommendations import items, messages
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys
from tests.conftest import Customer
from tests.support import ledger
from tests.support.audience import GARDEN, SPACE, books
from tests.support.live_worker import LiveWorker
from tests.support.rest import Answer, Api, assert_limit_headers, assert_problem

pytestmark = pytest.mark.usefixtures("prices")

FEE = 50
ADA = {"external_id": "ada", "name": "Ada", "preferences": {"categories": ["space"]}}
BODIES: list[dict[str, Any]] = [
    {"external_id": one.external_id, "title": one.title, "categories": list(one.categories)} for one in books()
]


def rows() -> tuple[int, int, int]:
    return EndUser.objects.count(), Item.objects.count(), Like.objects.count()


def fill(customer: Customer) -> Api:
    """Eight books, and Ada who likes two of them."""
    api = Api(customer)
    assert api.post("/v2/items", {"items": BODIES}).status == 200
    assert api.post("/v2/users", {"users": [ADA]}).status == 200
    likes = [{"user_id": "ada", "item_id": one} for one in ("g1", "g2")]
    assert api.post("/v2/likes", {"likes": likes}).status == 200
    return api


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


# --- What is refused --------------------------------------------------------------------------------------------------------

USERS: list[tuple[Any, str]] = [
    ([], "users"),
    ("ada", "users"),
    ([1], "users[0]"),
    ([{}], "users[0].external_id"),
    ([{"external_id": ""}], "users[0].external_id"),
    ([{"external_id": 7}], "users[0].external_id"),
    ([{"external_id": "a/b"}], "users[0].external_id"),
    ([{"external_id": ".."}], "users[0].external_id"),
    ([{"external_id": "-a"}], "users[0].external_id"),
    ([{"external_id": "a b"}], "users[0].external_id"),
    ([{"external_id": "a\n"}], "users[0].external_id"),
    ([{"external_id": "ä"}], "users[0].external_id"),
    ([{"external_id": "a" * 129}], "users[0].external_id"),
    ([{"external_id": "a"}, {"external_id": "b"}, {"external_id": "a"}], "users[2].external_id"),
    ([{"external_id": "a", "nmae": "x"}], "users[0].nmae"),
    ([{"external_id": "a", "name": 5}], "users[0].name"),
    ([{"external_id": "a", "name": "x" * 201}], "users[0].name"),
    ([{"external_id": "a", "name": "two\nlines"}], "users[0].name"),
    ([{"external_id": "a", "name": "\u202eevil"}], "users[0].name"),
    ([{"external_id": "a", "preferences": ["space"]}], "users[0].preferences"),
    ([{"external_id": "a", "preferences": {"colour": "red"}}], "users[0].preferences.colour"),
    ([{"external_id": "a", "preferences": {"categories": "space"}}], "users[0].preferences.categories"),
    ([{"external_id": "a", "preferences": {"categories": [" "]}}], "users[0].preferences.categories[0]"),
    ([{"external_id": "a", "preferences": {"categories": [True]}}], "users[0].preferences.categories[0]"),
    ([{"external_id": "a", "preferences": {"categories": ["x" * 65]}}], "users[0].preferences.categories[0]"),
    (
        [{"external_id": "a", "preferences": {"categories": [f"c{number}" for number in range(33)]}}],
        "users[0].preferences.categories",
    ),
    ([{"external_id": f"u{number}"} for number in range(messages.MAX_USERS_A_CALL + 1)], "users"),
]
ITEMS: list[tuple[Any, str]] = [
    ([{"external_id": "a"}], "items[0].title"),
    ([{"external_id": "a", "title": " "}], "items[0].title"),
    ([{"external_id": "a", "title": "x" * 201}], "items[0].title"),
    ([{"external_id": "a", "title": "x", "description": "y" * 4001}], "items[0].description"),
    ([{"external_id": "a", "title": "x", "description": 1}], "items[0].description"),
    ([{"external_id": "a", "title": "x", "embedding": [1.0]}], "items[0].embedding"),
    ([*BODIES, BODIES[0]], "items[8].external_id"),
    ([{"external_id": f"i{number}", "title": "x"} for number in range(257)], "items"),
]
LIKES: list[tuple[Any, str]] = [
    ([{"user_id": "ada"}], "likes[0].item_id"),
    ([{"item_id": "g1"}], "likes[0].user_id"),
    ([{"user_id": "ada", "item_id": "g1", "weight": 2}], "likes[0].weight"),
    ([{"user_id": "nobody", "item_id": "g1"}], "likes[0].user_id"),
    ([{"user_id": "ada", "item_id": "g3"}, {"user_id": "ada", "item_id": "nothing"}], "likes[1].item_id"),
    ([{"user_id": "ada", "item_id": "g1"}] * (messages.MAX_LIKES_A_CALL + 1), "likes"),
]


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [(name, *case) for name, cases in (("users", USERS), ("items", ITEMS), ("likes", LIKES)) for case in cases],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_entry_is_named_and_nothing_is_kept(
    acme: Customer, live_worker: LiveWorker, name: str, value: Any, field: str
) -> None:
    api = Api(acme)
    Item.objects.bulk_create(Item(tenant=acme.tenant, external_id=one.external_id, title=one.title) for one in books())
    EndUser.objects.create(tenant=acme.tenant, external_id="ada")
    before = rows()
    assert_problem(api.post(f"/v2/{name}", {name: value}), ErrorKind.INVALID_INPUT, field=field)
    assert_problem(api.post(f"/v2/{name}", {name: value, "more": 1}), ErrorKind.INVALID_INPUT, field="more")
    assert_problem(api.post(f"/v2/{name}", {}), ErrorKind.INVALID_INPUT, field=name)
    assert rows() == before
    ledger.assert_untouched(acme)


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{", b'{"users": [{"external_id": "a", "name": "\\u0000"}]}', b'{"users": [{"external_id": "\\ud800"}]}'],
)
def test_a_body_that_is_no_json_object_is_malformed(acme: Customer, body: bytes) -> None:
    assert_problem(Api(acme).post("/v2/users", body), ErrorKind.MALFORMED)
    assert rows() == (0, 0, 0)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v2/users?limit=0", "limit"),
        ("/v2/users?limit=1001", "limit"),
        ("/v2/users?limit=ten", "limit"),
        ("/v2/users?limit=٣", "limit"),
        ("/v2/users?cursor=!!", "cursor"),
        ("/v2/users?cursor=w6Q=", "cursor"),
        ("/v2/items?cursor=Li4=", "cursor"),
        ("/v2/users/ada/recommendations?limit=101", "limit"),
        ("/v2/users/a%20b", "external_id"),
        ("/v2/users/%00", "external_id"),
        ("/v2/items/" + "a" * 129, "external_id"),
        ("/v2/users/%C3%A4/recommendations", "external_id"),
    ],
)
def test_a_bad_address_is_named(acme: Customer, live_worker: LiveWorker, path: str, field: str) -> None:
    EndUser.objects.create(tenant=acme.tenant, external_id="ada")
    assert_problem(Api(acme).get(path), ErrorKind.INVALID_INPUT, field=field)


def calls(api: Api) -> dict[str, Answer]:
    """Every operation once, in an order in which nothing that is needed is gone."""
    like = {"likes": [{"user_id": "ada", "item_id": "g1"}]}
    return {
        "list users": api.get("/v2/users"),
        "get user": api.get("/v2/users/ada"),
        "list likes": api.get("/v2/users/ada/likes"),
        "list items": api.get("/v2/items"),
        "get item": api.get("/v2/items/g1"),
        "recommend": api.get("/v2/users/ada/recommendations"),
        "upsert users": api.post("/v2/users", {"users": [ADA]}),
        "upsert items": api.post("/v2/items", {"items": BODIES[:1]}),
        "add likes": api.post("/v2/likes", like),
        "delete like": api.call("DELETE", "/v2/users/ada/likes/g1"),
        "delete user": api.call("DELETE", "/v2/users/ada"),
        "delete item": api.call("DELETE", "/v2/items/g1"),
    }


READING = {"list users", "get user", "list likes", "list items", "get item", "recommend"}


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (["endusers:read"], READING - {"recommend"}),
        (["endusers:read", "predict"], READING),
        (["predict", "batch", "models:read", "usage:read"], set()),
        (
            ["endusers:write"],
            {"upsert users", "upsert items", "add likes", "delete like", "delete user", "delete item"},
        ),
    ],
)
def test_each_operation_needs_its_scope(
    acme: Customer, live_worker: LiveWorker, scopes: list[str], allowed: set[str]
) -> None:
    fill(acme)
    before, spent = rows(), ledger.units(acme.tenant)
    key = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=scopes)
    answers = calls(Api(secret=key.secret))
    assert {name for name, answer in answers.items() if answer.status == 200} == allowed
    for name, answer in answers.items():
        if name not in allowed:
            assert_problem(answer, ErrorKind.FORBIDDEN, "endusers:" if name != "recommend" else "scope")
    if "endusers:write" not in scopes:
        assert rows() == before
        assert ledger.units(acme.tenant) == spent + ("recommend" in allowed)


def test_new_items_need_the_scope_of_batches(acme: Customer, live_worker: LiveWorker) -> None:
    key = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["endusers:write"])
    answer = Api(secret=key.secret).post("/v2/items", {"items": BODIES})
    assert_problem(answer, ErrorKind.FORBIDDEN, "batch")
    assert rows() == (0, 0, 0)


def test_without_a_key_or_with_a_revoked_one_nothing_happens(
    acme: Customer, live_worker: LiveWorker, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    fill(acme)
    before = rows()
    key = api_keys.issue(tenant=acme.tenant, name="Other", scopes=["endusers:read", "endusers:write", "predict"])
    assert Api(secret=key.secret).get("/v2/users/ada").status == 200  # it is in memory now
    with django_capture_on_commit_callbacks(execute=True):
        api_keys.revoke(key=key.key)
    for api in (Api(), Api(secret=key.secret)):
        for name, answer in calls(api).items():
            assert answer.status == 401, name
    assert rows() == before


def test_another_tenants_audience_is_as_if_it_did_not_exist(
    acme: Customer, globex: Customer, live_worker: LiveWorker
) -> None:
    fill(acme)
    outsider = Api(globex)
    before = rows()
    assert outsider.get("/v2/users").body["users"] == []
    assert outsider.get("/v2/items").body["items"] == []
    foreign = [
        outsider.get("/v2/users/ada"),
        outsider.get("/v2/users/ada/likes"),
        outsider.get("/v2/users/ada/recommendations"),
        outsider.get("/v2/items/g1"),
        outsider.call("DELETE", "/v2/users/ada"),
        outsider.call("DELETE", "/v2/users/ada/likes/g1"),
        outsider.call("DELETE", "/v2/items/g1"),
    ]
    for answer in foreign:
        assert_problem(answer, ErrorKind.NOT_FOUND)
    missing = outsider.get("/v2/users/nobody")
    assert foreign[0].body["detail"] == missing.body["detail"].replace("nobody", "ada")
    answer = outsider.post("/v2/likes", {"likes": [{"user_id": "ada", "item_id": "g1"}]})
    assert_problem(answer, ErrorKind.INVALID_INPUT, field="likes[0].user_id")
    assert rows() == before
    ledger.assert_untouched(globex)
    # The same ids in both tenants are two people and two things.
    assert outsider.post("/v2/users", {"users": [{"external_id": "ada", "name": "Another Ada"}]}).body["created"] == 1
    assert Api(acme).get("/v2/users/ada").body["name"] == "Ada"


def test_a_refused_charge_keeps_nothing_and_says_when(acme: Customer, live_worker: LiveWorker) -> None:
    LimitRule.objects.filter(plan=acme.plan).update(amount=FEE + 8, rate=0.1)
    api = Api(acme)
    assert api.post("/v2/items", {"items": BODIES[:4]}).status == 200
    spent = ledger.units(acme.tenant)
    answer = api.post("/v2/items", {"items": BODIES})
    assert_problem(answer, ErrorKind.QUOTA_EXCEEDED)
    assert rows() == (0, 4, 0)
    assert ledger.units(acme.tenant) == spent


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
