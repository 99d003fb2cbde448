"""``me`` and ``tenant``: what a key sees of itself and of its tenant, what it needs for that, and nothing of others."""

import datetime as dt

import pytest
from pytest_django import DjangoAssertNumQueries

from mlplatform.lib import clock
from tenants import api_keys
from tenants.models import ApiKey, Membership, Role, Tenant, User
from tests.conftest import Customer
from tests.support import ledger
from tests.support.graphql_schema import ask, refused, told

KEYS = "{ tenant { keys(first: 50) { edges { node { name scopes secrets { prefix lastFour expiresAt } } } } } }"
MEMBERS = "{ tenant { members(first: 50) { edges { node { name email role since } } } } }"


def test_me(acme: Customer) -> None:
    issued = api_keys.issue(
        tenant=acme.tenant, name="Narrow", scopes=["usage:read"], allowed_models=["tiny"], allowed_cidrs=["127.0.0.0/8"]
    )
    me = told(
        acme,
        """{ me { keyId keyName mode scopes allowedModels allowedNetworks pinnedApiVersion validUntil plan
                  limits { name amount } tenant { slug name } } }""",
        secret=issued.secret,
    )["me"]
    assert me == {
        "keyId": issued.key.uid,
        "keyName": "Narrow",
        "mode": "LIVE",
        "scopes": ["usage:read"],
        "allowedModels": ["tiny"],
        "allowedNetworks": ["127.0.0.0/8"],
        "pinnedApiVersion": None,
        "validUntil": None,
        "plan": "Plan of acme",
        "limits": [{"name": "burst", "amount": 1000}, {"name": "included", "amount": 1_000_000}],
        "tenant": {"slug": "acme", "name": "Acme"},
    }


def test_preferences(acme: Customer) -> None:
    Tenant.objects.filter(pk=acme.tenant.pk).update(default_model="tiny", keeps_calls=True)
    data = told(acme, "{ tenant { preferences { defaultModel keepsSampledCalls } } }")
    assert data["tenant"]["preferences"] == {"defaultModel": "tiny", "keepsSampledCalls": True}


def test_keys_show_no_secret(acme: Customer, globex: Customer) -> None:
    later = clock.now() + dt.timedelta(days=1)
    rotated = api_keys.rotate(key=acme.key)
    ApiKey.objects.filter(pk=acme.key.pk).update(expires_at=later)
    data = told(
        acme,
        """{ tenant { keys { edges { node { keyId name mode scopes allowedModels allowedNetworks expiresAt revokedAt
             lastUsedAt active secrets { prefix lastFour createdAt expiresAt } } } } } }""",
        secret=rotated.secret,
    )
    (edge,) = data["tenant"]["keys"]["edges"]
    key = edge["node"]
    assert (key["keyId"], key["name"], key["active"]) == (acme.key.uid, "Production", True)
    assert [secret["lastFour"] for secret in key["secrets"]] == [rotated.secret[-4:], acme.secret[-4:]]
    assert [secret["expiresAt"] is None for secret in key["secrets"]] == [True, False]
    text = str(data)
    for secret in (acme.secret, rotated.secret):
        assert secret not in text
        assert secret[20:] not in text


def test_a_revoked_and_an_expired_key_are_not_active(acme: Customer) -> None:
    revoked, expired = (api_keys.issue(tenant=acme.tenant, name=name).key for name in ("Revoked", "Expired"))
    api_keys.revoke(key=revoked)
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=clock.now() - dt.timedelta(seconds=1))
    edges = told(acme, "{ tenant { keys { edges { node { name active } } } } }")["tenant"]["keys"]["edges"]
    assert {edge["node"]["name"]: edge["node"]["active"] for edge in edges} == {
        "Production": True,
        "Revoked": False,
        "Expired": False,
    }


def add_members(customer: Customer, number: int) -> None:
    for index in range(number):
        user = User.objects.create_user(f"person{index}@{customer.tenant.slug}.example")
        Membership.objects.create(tenant=customer.tenant, user=user, role=Role.VIEWER)


def test_members(acme: Customer, globex: Customer) -> None:
    add_members(acme, 1)
    edges = told(acme, MEMBERS)["tenant"]["members"]["edges"]
    assert [(edge["node"]["name"], edge["node"]["role"]) for edge in edges] == [
        ("Owner of acme", "OWNER"),
        ("person0@acme.example", "VIEWER"),
    ]


@pytest.mark.parametrize(("query", "queries"), [(MEMBERS, 1), (KEYS, 2)])
def test_the_number_of_queries_is_that_of_one_row(
    acme: Customer, query: str, queries: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    told(acme, query)
    with django_assert_num_queries(queries):
        told(acme, query)
    add_members(acme, 30)
    for index in range(30):
        api_keys.issue(tenant=acme.tenant, name=f"Key {index}")
    with django_assert_num_queries(queries):
        (connection,) = told(acme, query)["tenant"].values()
    assert len(connection["edges"]) == 31


@pytest.mark.parametrize(
    ("field", "scope"),
    [
        ("preferences { defaultModel }", "tenant:read"),
        ("members { edges { node { id } } }", "tenant:read"),
        ("keys { edges { node { id } } }", "tenant:read"),
        ("plan { name }", "tenant:read"),
        ("limits { name }", "usage:read"),
        ("usage { total { units } }", "usage:read"),
        ("recentPredictions { edges { node { id } } }", "usage:read"),
    ],
)
def test_a_missing_scope_leaves_the_other_fields(acme: Customer, field: str, scope: str) -> None:
    secret = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["predict"]).secret
    answer = ask(acme, f"{{ tenant {{ slug {field} }} }}", secret=secret)
    name = field.split()[0]
    assert answer.data == {"tenant": {"slug": "acme", name: None}}
    error = refused(answer, "FORBIDDEN", "tenant", name)
    assert error["extensions"]["requiredScope"] == scope


@pytest.mark.parametrize("part", ["members", "keys"])
def test_parts_of_another_tenant_do_not_exist(acme: Customer, globex: Customer, part: str) -> None:
    query = f"{{ tenant {{ {part} {{ edges {{ node {{ id }} }} }} }} }}"
    (edge,) = told(globex, query)["tenant"][part]["edges"]
    node = "query($id: ID!) { node(id: $id) { id } }"
    assert told(globex, node, {"id": edge["node"]["id"]}) == {"node": edge["node"]}
    spent = ledger.records(globex.tenant)
    foreign = ask(acme, node, {"id": edge["node"]["id"]})
    unknown = ask(acme, node, {"id": "QXBpS2V5OmtleV91bmtub3du"})
    assert foreign.data == unknown.data == {"node": None}
    assert [error["message"] for error in foreign.errors] == [error["message"] for error in unknown.errors]
    refused(foreign, "NOT_FOUND", "node")
    assert edge["node"]["id"] not in str(told(acme, query))
    assert ledger.records(globex.tenant) == spent


def test_another_tenant_itself_does_not_exist(acme: Customer, globex: Customer) -> None:
    theirs = told(globex, "{ tenant { id } }")["tenant"]["id"]
    answer = ask(acme, "query($id: ID!) { node(id: $id) { ... on Tenant { name } } }", {"id": theirs})
    assert answer.data == {"node": None}
    refused(answer, "NOT_FOUND", "node")


def test_a_node_asks_for_the_scope_of_its_type(acme: Customer) -> None:
    secret = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["predict"]).secret
    (edge,) = told(acme, "{ tenant { members { edges { node { id } } } } }")["tenant"]["members"]["edges"]
    answer = ask(acme, "query($id: ID!) { node(id: $id) { id } }", {"id": edge["node"]["id"]}, secret=secret)
    assert answer.data == {"node": None}
    assert refused(answer, "FORBIDDEN", "node")["extensions"]["requiredScope"] == "tenant:read"
