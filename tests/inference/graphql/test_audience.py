"""``user``, ``users`` and ``items``: a tenant's own audience, and recommendations for several users by one call."""

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from billing import pricing
from billing.models import Price
from inference.models import EndUser, Item, Like
from tenants import api_keys
from tests.conftest import Customer
from tests.inference.graphql.test_predict import spent
from tests.support import ledger
from tests.support.graphql_schema import ask, refused, told
from tests.support.live_worker import LiveWorker, demo_models, live_worker
from tests.support.rest import Api

__all__ = ["demo_models", "live_worker"]

pytestmark = pytest.mark.usefixtures("free_queries")

USER = """query($id: ID!, $limit: Int = 3) { user(id: $id) { id externalId name preferences { categories }
    recommendations(limit: $limit) { itemId title score categories model { name version } } } }"""
NODE = "query($id: ID!) { node(id: $id) { __typename id } }"
TITLES = {
    "pasta": ("Fresh pasta with tomatoes and basil", "food"),
    "soup": ("A warm soup of pumpkin and ginger", "food"),
    "cake": ("Chocolate cake with cherries", "food"),
    "goal": ("The striker scored twice in the final", "sport"),
    "race": ("She won the marathon in the rain", "sport"),
    "chip": ("A faster processor for small computers", "science"),
}


def fill(customer: Customer) -> None:
    """Six items, and ann who likes pasta, ben who prefers sport, and cleo of whom nothing is known; by REST."""
    api = Api(customer)
    items = [
        {"external_id": name, "title": title, "categories": [category]} for name, (title, category) in TITLES.items()
    ]
    users: list[dict[str, Any]] = [
        {"external_id": "ann", "name": "Ann"},
        {"external_id": "ben", "name": "Ben", "preferences": {"categories": ["sport"]}},
        {"external_id": "cleo"},
    ]
    for path, body in (
        ("/v2/items", {"items": items}),
        ("/v2/users", {"users": users}),
        ("/v2/likes", {"likes": [{"user_id": "ann", "item_id": "pasta"}]}),
    ):
        answer = api.post(path, body)
        assert answer.status == 200, answer.content


@pytest.fixture
def audience(acme: Customer, live_worker: LiveWorker) -> LiveWorker:
    fill(acme)
    return live_worker


def test_a_user_with_recommendations(acme: Customer, audience: LiveWorker) -> None:
    user = told(acme, USER, {"id": "ann"})["user"]
    assert (user["externalId"], user["name"], user["preferences"]) == ("ann", "Ann", {"categories": []})
    assert len(user["recommendations"]) == 3
    assert {one["itemId"] for one in user["recommendations"][:2]} == {"soup", "cake"}
    for one in user["recommendations"]:
        assert one["title"], one["categories"] == (TITLES[one["itemId"]][0], [TITLES[one["itemId"]][1]])
        assert 0 <= one["score"] <= 1
        assert one["model"] == {"name": "recommender", "version": "1.0.0"}


def test_they_are_those_of_rest_and_cost_the_same(acme: Customer, globex: Customer, audience: LiveWorker) -> None:
    fill(globex)
    before = {customer.tenant.slug: len(spent(customer)) for customer in (acme, globex)}
    rest = Api(globex).get("/v2/users/ann/recommendations?limit=3")
    assert rest.status == 200, rest.content
    answer = told(acme, USER, {"id": "ann"})["user"]["recommendations"]
    known = rest.body.get("recommendations") or rest.body["items"]
    assert [(one["itemId"], one["score"]) for one in answer] == [(one["item_id"], one["score"]) for one in known]
    costs = {customer.tenant.slug: spent(customer)[before[customer.tenant.slug] :] for customer in (acme, globex)}
    assert costs["acme"] == costs["globex"]
    assert len(costs["acme"]) == 1


def test_several_users_are_one_call(acme: Customer, audience: LiveWorker) -> None:
    before = len(spent(acme))
    answer = ask(
        acme,
        """{ users(ids: ["ben", "nobody", "ann"]) { externalId recommendations(limit: 2) { itemId } }
             again: user(id: "ann") { recommendations(limit: 4) { itemId } }
             cleo: user(id: "cleo") { recommendations { itemId score } } }""",
        headers={"x-request-id": "all"},
    )
    assert answer.errors == []
    ben, missing, ann = answer.data["users"]
    assert missing is None
    assert {one["itemId"] for one in ben["recommendations"]} == {"goal", "race"}
    assert [one["itemId"] for one in answer.data["again"]["recommendations"]][:2] == [
        one["itemId"] for one in ann["recommendations"]
    ]
    assert len(answer.data["again"]["recommendations"]) == 4
    newest = [one["itemId"] for one in answer.data["cleo"]["recommendations"]]
    assert newest == [*reversed(TITLES)]
    assert {one["score"] for one in answer.data["cleo"]["recommendations"]} == {None}
    made = spent(acme)[before:]
    assert {operation for _, operation, *_ in made} == {"batch"}
    assert sum(calls for *_, calls in made) == 1
    assert {
        record.body["request_id"] for record in ledger.records(acme.tenant)[-len(made) :] if record.body["model"]
    } == {"all"}


def test_queries_do_not_grow_with_users(
    acme: Customer, audience: LiveWorker, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    query = "query($ids: [ID!]!) { users(ids: $ids) { name preferences { categories } recommendations(limit: 2) { itemId } } }"
    told(acme, query, {"ids": ["ann", "ben"]})
    with django_assert_num_queries(4) as few:
        told(acme, query, {"ids": ["ann", "ben"]})
    item = Item.objects.get(tenant=acme.tenant, external_id="goal")
    for number in range(10):
        user = EndUser.objects.create(tenant=acme.tenant, external_id=f"user{number}")
        Like.objects.create(user=user, item=item)
    ids = ["ann", "ben", *(f"user{number}" for number in range(10))]
    with django_assert_num_queries(len(few)):
        users = told(acme, query, {"ids": ids})["users"]
    assert all(len(user["recommendations"]) == 2 for user in users)


def test_items(acme: Customer, audience: LiveWorker) -> None:
    query = """query($after: String) { items(first: 4, after: $after) { edges { node { id itemId title description categories } }
        pageInfo { hasNextPage endCursor } } }"""
    first = told(acme, query)["items"]
    second = told(acme, query, {"after": first["pageInfo"]["endCursor"]})["items"]
    found = [edge["node"] for edge in (*first["edges"], *second["edges"])]
    assert [item["itemId"] for item in found] == [*reversed(TITLES)]
    assert second["pageInfo"]["hasNextPage"] is False
    assert (found[-1]["title"], found[-1]["categories"], found[-1]["description"]) == (TITLES["pasta"][0], ["food"], "")
    assert told(acme, NODE, {"id": found[0]["id"]})["node"] == {"__typename": "Item", "id": found[0]["id"]}


@pytest.mark.parametrize("limit", [0, 101, -1])
def test_a_limit_that_is_none(acme: Customer, audience: LiveWorker, limit: int) -> None:
    before = len(spent(acme))
    answer = ask(acme, USER, {"id": "ann", "limit": limit})
    assert answer.data["user"]["recommendations"] is None
    refused(answer, "INVALID_INPUT", "user", "recommendations", field="limit")
    assert len(spent(acme)) == before


@pytest.mark.parametrize(
    ("field", "code", "argument"),
    [
        ('user(id: "nobody") { name }', "NOT_FOUND", None),
        ('user(id: "") { name }', "INVALID_INPUT", "id"),
        (f'user(id: "{"u" * 300}") {{ name }}', "INVALID_INPUT", "id"),
        (f"users(ids: {['u'] * 101}) {{ name }}".replace("'", '"'), "INVALID_INPUT", "ids"),
        ('users(ids: ["ann", ""]) { name }', "INVALID_INPUT", "ids[1]"),
    ],
)
def test_users_that_are_none(acme: Customer, field: str, code: str, argument: str | None) -> None:
    answer = ask(acme, f"{{ {field} }}")
    name = field.split("(")[0]
    assert answer.data == {name: None}
    refused(answer, code, name, field=argument)


# --- Another tenant's ----------------------------------------------------------------------------------------------------


def test_nothing_of_another_tenant(acme: Customer, globex: Customer, audience: LiveWorker) -> None:
    rows = (EndUser.objects.count(), Item.objects.count(), Like.objects.count())
    mine = told(acme, USER, {"id": "ann"})["user"]
    item = told(acme, "{ items(first: 1) { edges { node { id } } } }")["items"]["edges"][0]["node"]
    records = ledger.records(acme.tenant)
    foreign, unknown = (ask(globex, USER, {"id": one}) for one in ("ann", "xyz"))
    assert foreign.data == unknown.data == {"user": None}
    assert foreign.errors[0]["message"] == unknown.errors[0]["message"].replace("xyz", "ann")
    assert told(globex, '{ users(ids: ["ann", "ben"]) { name } items { edges { node { id } } } }') == {
        "users": [None, None],
        "items": {"edges": []},
    }
    # Even where globex has an end user of the same name, acme's global id is none for it.
    EndUser.objects.create(tenant=globex.tenant, external_id="ann", name="Another Ann")
    for global_id in (mine["id"], item["id"]):
        answer = ask(globex, NODE, {"id": global_id})
        assert answer.data == {"node": None}
        refused(answer, "NOT_FOUND", "node")
    assert told(globex, '{ user(id: "ann") { name } }') == {"user": {"name": "Another Ann"}}
    assert (EndUser.objects.count() - 1, Item.objects.count(), Like.objects.count()) == rows
    assert ledger.records(acme.tenant) == records
    assert spent(globex) == []


@pytest.mark.parametrize(
    "field", ['user(id: "ann") { name }', 'users(ids: ["ann"]) { name }', "items { edges { node { title } } }"]
)
def test_without_the_scope(acme: Customer, field: str) -> None:
    EndUser.objects.create(tenant=acme.tenant, external_id="ann")
    secret = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["predict", "batch"]).secret
    answer = ask(acme, f"{{ {field} }}", secret=secret)
    name = field.split("(")[0].split()[0]
    assert answer.data == {name: None}
    assert refused(answer, "FORBIDDEN", name)["extensions"]["requiredScope"] == "endusers:read"


def test_recommendations_are_predictions_and_need_their_scope(acme: Customer, audience: LiveWorker) -> None:
    secret = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["endusers:read"]).secret
    before = len(spent(acme))
    answer = ask(acme, USER, {"id": "ann"}, secret=secret)
    assert answer.data["user"]["name"] == "Ann"
    assert answer.data["user"]["recommendations"] is None
    error = refused(answer, "FORBIDDEN", "user", "recommendations")
    assert error["extensions"]["requiredScope"] == "predict"
    assert len(spent(acme)) == before


def test_what_its_limits_refuse_is_not_charged(acme: Customer, audience: LiveWorker) -> None:
    Price.objects.create(operation="predict", model="recommender", per_input=5_000)
    pricing.forget()
    before = len(spent(acme))
    answer = ask(acme, USER, {"id": "ann"})
    assert answer.data["user"]["recommendations"] is None
    refused(answer, "CHARGE_TOO_LARGE", "user", "recommendations")
    assert len(spent(acme)) == before
    assert ledger.holds(acme.tenant) == 0
