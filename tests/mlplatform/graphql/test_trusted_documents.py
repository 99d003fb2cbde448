"""Trusted documents: registered by staff or a command, sent by hash, and all that some keys may send."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from tenants import api_keys, trusted_documents
from tenants.models import TrustedDocument
from tests.conftest import Customer
from tests.mlplatform.graphql.small_schema import RAN
from tests.support import ledger, staff
from tests.support.graphql import ask, assert_refused
from tests.support.rest import Answer, Api

TEXT = "query Q($n: Int!) { thing(number: $n) { number } }"
VARIABLES = {"n": 2}


def _register(customer: Customer, text: str = TEXT) -> str:
    return trusted_documents.register(tenant=customer.tenant, name="Page", text=text, judge=lambda _: "").sha256


def _restricted(customer: Customer) -> Api:
    issued = api_keys.issue(
        tenant=customer.tenant, name="App", scopes=["predict", "usage:read"], trusted_documents_only=True
    )
    return Api(secret=issued.secret)


def _by_id(api: Api, sha256: str, **members: object) -> Answer:
    return api.post("/graphql", {"documentId": f"sha256:{sha256}", "variables": VARIABLES, **members})


def test_a_document_is_sent_by_its_hash(acme: Customer) -> None:
    sha256 = _register(acme)
    for api in (Api(acme), _restricted(acme)):
        answer = _by_id(api, sha256)
        assert answer.body["data"] == {"thing": {"number": 2}}
    by_get = Api(acme).get("/graphql?documentId=" + sha256 + "&variables=" + json.dumps(VARIABLES).replace(" ", ""))
    assert by_get.body["data"] == {"thing": {"number": 2}}
    assert ledger.units(acme.tenant) == 3


def test_apollos_clients_find_it_by_their_own_member(acme: Customer) -> None:
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": trusted_documents.digest(TEXT)}}
    body = {"extensions": extensions, "variables": VARIABLES}
    refused = Api(acme).post("/graphql", body)
    error = assert_refused(refused, "PERSISTED_QUERY_NOT_FOUND", status=200)
    assert error["message"] == "PersistedQueryNotFound"
    # The client sends its text then, which is run and not kept.
    assert Api(acme).post("/graphql", body | {"query": TEXT}).body["data"] == {"thing": {"number": 2}}
    assert not TrustedDocument.objects.exists()
    _register(acme)
    assert Api(acme).post("/graphql", body).body["data"] == {"thing": {"number": 2}}
    assert _restricted(acme).post("/graphql", body | {"query": "{ dear }"}).body["data"] == {"thing": {"number": 2}}


def test_a_key_may_be_limited_to_trusted_documents(acme: Customer) -> None:
    _register(acme)
    api = _restricted(acme)
    for query in (TEXT, "{ hello }", "{ __schema { queryType { name } } }", "{ helo }", "{"):
        error = assert_refused(ask(api, query), "TRUSTED_DOCUMENTS_ONLY", status=403)
        assert "Did you mean" not in error["message"]
    assert RAN == []
    ledger.assert_untouched(acme)


def test_another_tenants_document_does_not_exist(acme: Customer, globex: Customer) -> None:
    sha256 = _register(globex)
    theirs = _by_id(Api(acme), sha256)
    unknown = _by_id(Api(acme), "0" * 64)
    assert assert_refused(theirs, "DOCUMENT_NOT_FOUND", status=200)["message"] == unknown.body["errors"][0]["message"]
    assert RAN == []
    ledger.assert_untouched(acme)


def test_either_a_text_or_an_id(acme: Customer) -> None:
    assert_refused(_by_id(Api(acme), _register(acme), query=TEXT), "MALFORMED")


def test_the_same_text_is_one_document(acme: Customer) -> None:
    assert _register(acme) == _register(acme)
    assert TrustedDocument.objects.count() == 1


# --- Registered by a command -----------------------------------------------------------------------------------------


def test_a_folder_is_registered_as_a_whole(acme: Customer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "thing.graphql").write_text(TEXT)
    (tmp_path / "hello.graphql").write_text("{ hello }")
    call_command("trust_documents", "acme", str(tmp_path))
    assert {row.name: row.text for row in TrustedDocument.objects.all()} == {"pages/thing": TEXT, "hello": "{ hello }"}
    assert f"sha256:{trusted_documents.digest(TEXT)}" in capsys.readouterr().out
    call_command("trust_documents", "acme", str(tmp_path))
    assert TrustedDocument.objects.count() == 2


@pytest.mark.parametrize("content", [b"{ nothing }", b"{", b"", b"\xff", b"{ hello }\x00"])
def test_one_bad_file_registers_none(acme: Customer, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.graphql").write_text("{ hello }")
    (tmp_path / "b.graphql").write_bytes(content)
    with pytest.raises(CommandError, match=r"b\.graphql"):
        call_command("trust_documents", "acme", str(tmp_path))
    assert not TrustedDocument.objects.exists()


@pytest.mark.django_db
def test_a_command_for_an_unknown_tenant(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no tenant"):
        call_command("trust_documents", "nobody", str(tmp_path))


# --- Registered by staff ---------------------------------------------------------------------------------------------


@pytest.fixture
def admin(acme: Customer, client: Client) -> Client:
    client.force_login(staff.superuser())
    return client


ADD = "/admin/tenants/trusteddocument/add/"


def test_staff_register_a_document(acme: Customer, admin: Client) -> None:
    sent = {
        "tenant": acme.tenant.pk,
        "name": "Page",
        "text": "query Q($n: Int!) {\r\n  thing(number: $n) { number }\r\n}\r\n",
    }
    assert admin.post(ADD, sent).status_code == 302
    (row,) = TrustedDocument.objects.all()
    assert "\r" not in row.text
    assert row.text.endswith("}\n")
    assert _by_id(Api(acme), row.sha256).body["data"] == {"thing": {"number": 2}}
    change = f"/admin/tenants/trusteddocument/{row.pk}/change/"
    page = admin.get(change).content.decode()
    assert f"sha256:{row.sha256}" in page
    assert "query Q($n: Int!) {\n  thing(number: $n) { number }\n}" in admin.get(change).content.decode()
    assert admin.post(change, {"name": "Other", "text": "{ hello }"}).status_code == 302
    row.refresh_from_db()
    assert (row.name, trusted_documents.digest(row.text)) == ("Other", row.sha256)
    again = admin.post(ADD, sent)
    assert "has this document already" in again.content.decode()


@pytest.mark.parametrize(
    ("text", "words"), [("{ nothing }", "Cannot query field"), ("{", "Syntax Error"), ("{" * 100, "nests more")]
)
def test_a_bad_document_is_not_registered(acme: Customer, admin: Client, text: str, words: str) -> None:
    answer = admin.post(ADD, {"tenant": acme.tenant.pk, "name": "Page", "text": text})
    assert words in answer.content.decode()
    assert not TrustedDocument.objects.exists()


def test_a_key_is_limited_on_its_page(acme: Customer, admin: Client) -> None:
    address = f"/admin/tenants/apikey/{acme.key.pk}/change/"
    assert "trusted_documents_only" in admin.get(address).content.decode()
    assert ask(Api(acme), "{ hello }").status == 200
    form = {"name": acme.key.name, "scopes": ["predict"], "trusted_documents_only": "on"}
    form |= {f"limits-{name}": "0" for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    assert admin.post(address, form).status_code == 302
    acme.key.refresh_from_db()
    assert acme.key.trusted_documents_only
