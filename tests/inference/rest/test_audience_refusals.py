"""What calls of an audience are refused: bad bodies and addresses, scopes, other tenants, no key."""

from collections.abc import Callable
from typing import Any

import pytest

from billing.models import LimitRule
from inference.models import EndUser, Item
from inference.recommendations import messages
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys
from tests.conftest import Customer
from tests.inference.rest.audiences import ADA, BODIES, FEE, fill, rows
from tests.support import ledger
from tests.support.audience import books
from tests.support.live_worker import LiveWorker
from tests.support.rest import Answer, Api, assert_problem

pytestmark = pytest.mark.usefixtures("prices")

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
