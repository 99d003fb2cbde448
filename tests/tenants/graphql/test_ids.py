"""Global ids and ``node(id)``: what may be written in place of an id has one and the same answer."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.graphql import ids
from tests.conftest import Customer
from tests.support.graphql_schema import ask, refused, told

NODE = "query($id: ID!) { node(id: $id) { __typename id } }"


@given(
    st.sampled_from(["Tenant", "ApiKey", "Model"]),
    st.text(min_size=1, max_size=60).filter(lambda key: "\x00" not in key),
)
def test_an_id_comes_back(type_name: str, key: str) -> None:
    if key.isascii():
        assert ids.decode(ids.encode(type_name, key)) == (type_name, key)


def problem(text: str) -> ErrorKind | None:
    try:
        ids.decode(text)
    except PlatformError as error:
        return error.kind
    return None


@given(st.text(max_size=80))
def test_what_is_no_id_is_not_found_and_nothing_worse(text: str) -> None:
    assert problem(text) in {None, ErrorKind.NOT_FOUND}


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "node_id",
    [
        "",
        "!",
        "acme",
        encoded("Tenant"),
        encoded("Tenant:"),
        encoded("Tenant:nobody"),
        encoded("Planet:1"),
        encoded("Query:1"),
        encoded("Member:1e3"),
        encoded("Member:-1"),
        encoded("Member:²"),
        encoded(f"Member:{10**30}"),
        encoded("Member:999999"),
        encoded("ApiKey:key_unknown"),
        encoded("ApiKey:\x00"),
        encoded("Model:unknown"),
        encoded("ModelVersion:unknown"),
        encoded("ModelVersion:unknown@1.0.0"),
        encoded("RecentPrediction:unknown"),
        encoded("EndUser:0"),
        encoded("EndUser:external"),
        encoded("Item:999999"),
        "A" * 5000,
    ],
)
def test_what_names_nothing(acme: Customer, node_id: str) -> None:
    answer = ask(acme, NODE, {"id": node_id})
    assert answer.data == {"node": None}
    error = refused(answer, "NOT_FOUND", "node", field="id")
    assert error["message"] == "There is nothing with this id that this key may see."


def test_the_tenant_and_its_parts_are_found_again(acme: Customer) -> None:
    data = told(
        acme,
        """{ tenant { id members { edges { node { id name email role } } }
                      keys { edges { node { id keyId name secrets { lastFour } } } } } }""",
    )["tenant"]
    member, key = data["members"]["edges"][0]["node"], data["keys"]["edges"][0]["node"]
    query = """query($tenant: ID!, $member: ID!, $key: ID!) {
        tenant: node(id: $tenant) { id ... on Tenant { slug } }
        member: node(id: $member) { ... on Member { id name email role } }
        key: node(id: $key) { ... on ApiKey { id keyId name secrets { lastFour } } } }"""
    again = told(acme, query, {"tenant": data["id"], "member": member["id"], "key": key["id"]})
    assert again == {"tenant": {"id": data["id"], "slug": "acme"}, "member": member, "key": key}
