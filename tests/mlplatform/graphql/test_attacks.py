"""Documents that mean harm: each is refused with a code of its own before anything runs, and costs nothing.

What must be cheap is counted rather than timed: how many tokens are read, and that nothing is expanded.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSyntaxError,
    Source,
    TokenKind,
    get_introspection_query,
)
from graphql.execution.execute import get_field_def
from graphql.language import Lexer
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from mlplatform.graphql import cost, measuring, scanning
from mlplatform.graphql.documents import Documents
from mlplatform.graphql.operations import the_schema
from mlplatform.graphql.refusals import Refusal
from mlplatform.graphql.scanning import scan
from tests.conftest import Customer
from tests.mlplatform.graphql.small_schema import RAN, schema
from tests.support import ledger
from tests.support.examples import examples
from tests.support.graphql import ask, assert_refused
from tests.support.rest import Api

DEEP = 100_000


def _fan_out(levels: int) -> str:
    """Each fragment spreads the next one twice, under two aliases: 2^levels fields from a short text."""
    fragments = [
        f"fragment F{level} on Thing {{ a: next {{ ...F{level + 1} }} b: next {{ ...F{level + 1} }} }}"
        for level in range(levels)
    ]
    return "{ thing(number: 1) { ...F0 } } " + " ".join(fragments) + f" fragment F{levels} on Thing {{ number }}"


def _wide(levels: int, first: int) -> str:
    inner = "number"
    for _ in range(levels):
        inner = f"others(first: {first}) {{ {inner} }}"
    return f"{{ thing(number: 1) {{ {inner} }} }}"


def _merging(pairs: int) -> str:
    """Many equal fields in many fragments, each pair of which must be compared."""
    fragments = " ".join(f"fragment F{i} on Thing {{ number word next {{ number word }} }}" for i in range(pairs))
    return "{ thing(number: 1) { " + " ".join(f"...F{i}" for i in range(pairs)) + " } } " + fragments


_IN_TURN = " ".join(f"fragment F{i} on Thing {{ ...F{(i + 1) % 9} }}" for i in range(9))

ATTACKS = {
    "fan-out of fragments": (_fan_out(8), "COST_TOO_HIGH", {"GRAPHQL_MAX_COST": 200}),
    "fan-out beyond the depth": (_fan_out(14), "TOO_DEEP", {}),
    "lists of lists": (_wide(8, 100), "COST_TOO_HIGH", {}),
    "a page of billions": ("{ things(first: 2000000000) { edges { node { number } } } }", "COST_TOO_HIGH", {}),
    "free fields without end": (
        '{ predict(inputData: "x") { ' + _wide(8, 100)[2:].replace("(number: 1)", "") + " }", "COST_TOO_HIGH", {},
    ),
    "aliases": ("{ " + " ".join(f"a{i}: hello" for i in range(300)) + " }", "TOO_MANY_ALIASES", {}),
    "10,000 aliases": ("{ " + " ".join(f"a{i}:x" for i in range(10_000)) + " }", "TOO_MANY_TOKENS", {}),
    "tokens": ("{ " + "hello " * 5_000 + "}", "TOO_MANY_TOKENS", {}),
    "comments": ("#\n" * 30_000 + "{ hello }", "TOO_MANY_TOKENS", {}),
    "a long text": ('{ hello(name: "' + "x" * 200_000 + '") }', "DOCUMENT_TOO_LARGE", {}),
    "a long name": ("{ " + "x" * 50_000 + " }", "GRAPHQL_VALIDATION_FAILED", {}),
    "spaces": ("{ hello }" + " " * 200_000, "DOCUMENT_TOO_LARGE", {}),
    "the same field": ("{ " + "hello " * 1_000 + "}", "TOO_MANY_FIELDS", {}),
    "fields": ("{ thing(number: 1) {" + "number word boom next { number } " * 150 + "} }", "TOO_MANY_FIELDS", {}),
    "merging": (_merging(20), None, {}),
    "more merging": (
        "{ thing(number: 1) { " + " ".join(f"...F{i}" for i in range(38)) + " } } " + " ".join(
            f"fragment F{i} on Thing {{ number word boom others {{ number word }} next {{ number word }} }}" for i in range(38)
        ), "TOO_MANY_FIELDS", {},
    ),
    "fragments": (_merging(60), "TOO_MANY_FRAGMENTS", {}),
    "spreads": ("{ " + "...F " * 400 + "} fragment F on Query { hello }", "TOO_MANY_FRAGMENTS", {}),
    "directives at one place": ("{ hello " + "@skip(if: false) " * 50 + "}", "TOO_MANY_DIRECTIVES", {}),
    "unknown directives": ("{ hello " + "@a" * 900 + " }", "TOO_MANY_DIRECTIVES", {}),
    "directives": ("{ " + "hello @skip(if: false) " * 11 + "} " + " ".join(
        f"fragment F{i} on Query {{ hello @skip(if: false) @include(if: true) hello @skip(if: false) }}" for i in range(30)
    ), "TOO_MANY_DIRECTIVES", {}),
    "deep selections": ("{ a" * DEEP, "DOCUMENT_TOO_LARGE", {}),
    "deep braces": ("{" * 50_000, "TOO_DEEP", {}),
    "deep lists": ("{ hello(names: " + "[" * 50_000, "TOO_DEEP", {}),
    "deep objects": ("{ hello(names: " + "{a:" * 20_000, "TOO_DEEP", {}),
    "deep types": ("query ($a: " + "[" * 50_000 + " { hello }", "TOO_DEEP", {}),
    "deep inline fragments": ("{ " + "... { " * 55 + "hello" + " }" * 55 + " }", "TOO_DEEP", {}),
    "a deep chain of fragments": (
        "{ thing(number: 1) { ...F0 } } "
        + " ".join(f"fragment F{i} on Thing {{ {'... { ' * 20} ...F{i + 1} {'} ' * 20} }}" for i in range(15))
        + " fragment F15 on Thing { number }",
        "TOO_DEEP", {},
    ),
    "thirteen fields deep": ("{ thing(number: 1) { " + "next { " * 12 + "number" + " }" * 12 + " } }", "TOO_DEEP", {}),
    "a fragment of itself": ("{ thing(number: 1) { ...F } } fragment F on Thing { ...F }", "FRAGMENT_CYCLE", {}),
    "fragments in turn": ("{ thing(number: 1) { ...F0 } } " + _IN_TURN, "FRAGMENT_CYCLE", {}),
    "a cycle that is not used": ("{ hello } " + _IN_TURN, "FRAGMENT_CYCLE", {}),
    "hundreds of mistakes": ("{ " + " ".join(f"x{i}" for i in range(390)) + " }", "GRAPHQL_VALIDATION_FAILED", {}),
    "unused variables": (
        "query (" + " ".join(f"$v{i}: Int" for i in range(400)) + ") { hello }", "TOO_MANY_VARIABLES", {},
    ),
    "operations": (" ".join(f"query Q{i} {{ hello }}" for i in range(50)), "TOO_MANY_OPERATIONS", {}),
    "types of types": (
        "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }",
        "GRAPHQL_VALIDATION_FAILED", {},
    ),
    "a chain of ofType": (
        "{ __schema { types { fields { type { " + "ofType { " * 20 + "name" + " }" * 20 + " } } } } }", "TOO_DEEP", {},
    ),
    "the schema thirty times": (
        "{ " + " ".join(
            f"a{i}: __schema {{ types {{ fields {{ name args {{ name type {{ ...T }} }} type {{ ...T }} }} }} }}"
            for i in range(30)
        ) + " } fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }",
        "COST_TOO_HIGH", {},
    ),
    "NUL in a text": ('{ hello(name: "\\u0000") }', "GRAPHQL_PARSE_FAILED", {}),
    "NUL between tokens": ("{ hello \x01 }", "GRAPHQL_PARSE_FAILED", {}),
    "half a character": ('{ hello(name: "\\ud800") }', "GRAPHQL_PARSE_FAILED", {}),
    "a text without end": ('{ hello(name: """' + "x\n" * 10_000, "GRAPHQL_PARSE_FAILED", {}),
    "quotes": ('"' * 3_000, "GRAPHQL_PARSE_FAILED", {}),
    "backslashes": ('{ hello(name: "' + "\\" * 20_000, "GRAPHQL_PARSE_FAILED", {}),
    "numbers": ("{ thing(number: " + "9" * 50_000 + ") { number } }", "GRAPHQL_VALIDATION_FAILED", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(ATTACKS))
def test_attacks(acme: Customer, name: str, settings: Any) -> None:
    query, code, changed = ATTACKS[name]
    for setting, value in changed.items():
        setattr(settings, setting, value)
    answer = ask(Api(acme), query)
    if code is None:
        assert answer.status == 200, answer.content[:500]
        return
    assert_refused(answer, code)
    assert len(answer.body["errors"]) <= 10
    assert RAN == []
    ledger.assert_untouched(acme)


def test_the_fan_out_of_the_pitfalls(acme: Customer) -> None:
    """660 bytes that once gave megabytes: each level multiplies by aliases, within the depth that is allowed."""
    aliases = "".join(f"{letter}:next{{...%s}}" for letter in "abc")
    levels = [f"fragment F{i} on Thing{{{aliases.replace('%s', f'F{i + 1}')}}}" for i in range(9)]
    query = "{thing(number:1){...F0}}" + "".join(levels) + "fragment F9 on Thing{number}"
    assert len(query) < 660
    error = assert_refused(ask(Api(acme), query), "COST_TOO_HIGH")
    assert error["extensions"]["requested"] == 1 + sum(3**level for level in range(1, 10))
    assert RAN == []
    ledger.assert_untouched(acme)


def test_a_huge_expansion_is_added_up_in_the_time_of_its_text(acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []

    def counted(schema: GraphQLSchema, parent: GraphQLObjectType, node: FieldNode) -> GraphQLField | None:
        looked_at.append(node.name.value)
        return get_field_def(schema, parent, node)

    monkeypatch.setattr(cost, "get_field_def", counted)
    assert_refused(ask(Api(acme), _wide(8, 10**9)), "COST_TOO_HIGH")
    assert_refused(ask(Api(acme), ATTACKS["free fields without end"][0]), "COST_TOO_HIGH")
    assert len(looked_at) < 40


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP,
        b'{"query":' * 10_000,
        b'{"query": "{ hello }", "variables": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
        b'{"query": "{ hello }", "variables": {"a": ' + b"[" * 500 + b"]" * 500 + b"}}",
        b'{"query": "{ hello }", "variables": {"a": ' + b"9" * 10_000 + b"}}",
    ],
)
def test_deep_bodies(acme: Customer, body: bytes) -> None:
    assert_refused(Api(acme).post("/graphql", body), "MALFORMED")
    assert RAN == []
    ledger.assert_untouched(acme)


def test_a_body_that_is_too_large(acme: Customer) -> None:
    body = json.dumps({"query": "{ hello }", "variables": {"a": "x" * 2_200_000}}).encode()
    assert_refused(Api(acme).post("/graphql", body), "PAYLOAD_TOO_LARGE", status=413)
    assert RAN == []
    ledger.assert_untouched(acme)


def test_large_variables_are_answered_shortly(acme: Customer) -> None:
    query = "query ($n: Int!) { thing(number: $n) { number } }"
    for wrong in ("x" * 1_000_000, ["x" * 1_000] * 1_000, {"x" * 10_000: 1}):
        assert_refused(ask(Api(acme), query, {"n": wrong}), "VARIABLES_INVALID")
    many = {f"v{i}": i for i in range(50_000)}
    assert ask(Api(acme), query, many | {"n": 1}).status == 200
    wrong_names = ask(Api(acme), "query ($n: [String]) { hello(names: $n) }", {"n": [[1]] * 20_000})
    assert_refused(wrong_names, "VARIABLES_INVALID")


@pytest.mark.parametrize("value", [["x"] * 60_001, [[["x"] * 200] * 200] * 2, {"a": [{"b": ["x"] * 60_001}]}])
def test_more_values_than_can_be_read_shortly(acme: Customer, value: Any) -> None:
    error = assert_refused(ask(Api(acme), "query ($n: [String]) { hello(names: $n) }", {"n": value}), "TOO_MANY_VALUES")
    assert error["extensions"]["limit"] == 60_000
    assert RAN == []
    ledger.assert_untouched(acme)


def _batch(acme: Customer, *operations: dict[str, Any]) -> list[str]:
    """The code of each operation of a list, empty for one that was answered."""
    answer = Api(acme).post("/graphql", list(operations))
    return [one["errors"][0]["extensions"]["code"] if "errors" in one else "" for one in answer.body]


def test_a_list_has_the_limits_of_one_request(acme: Customer) -> None:
    names = {"query": "query ($n: [String]) { hello(names: $n) }", "variables": {"n": ["x"] * 30_000}}
    assert _batch(acme, names, names, names) == ["", "", "TOO_MANY_VALUES"]
    schema = {"query": get_introspection_query()}
    assert _batch(acme, *[schema] * 5) == ["", "", *["COST_TOO_HIGH"] * 3]
    wide = {"query": '{ predict(inputData: "x") { thing { others(first: 150) { others(first: 150) { number } } } } }'}
    # The prediction names no model, which is its own problem and no refusal of the operation.
    assert _batch(acme, wide, wide, wide) == ["INVALID_INPUT", "INVALID_INPUT", "COST_TOO_HIGH"]


def test_no_more_tokens_are_read_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []

    class Counting:
        def finditer(self, text: str) -> Iterator[Any]:
            for match in real.finditer(text):
                read.append(match)
                yield match

    real = scanning.TOKEN
    monkeypatch.setattr(scanning, "TOKEN", Counting())
    with pytest.raises(Refusal):
        scan("a " * 40_000, max_tokens=100)
    assert len(read) == 101


@given(st.text(alphabet='{}[]()"\\#@:$!.,-+eab1\n\r é"', max_size=200))
@example("{...a...b...c}")
@example("{a(b:[-1-1-1 1.5e-3-1 2b])}")
def test_the_scan_counts_at_least_what_the_lexer_reads(text: str) -> None:
    tokens = 0
    lexer = Lexer(Source(text))
    try:
        while lexer.advance().kind is not TokenKind.EOF:
            tokens += 1
    except GraphQLSyntaxError:
        pass
    if text.count("{") + text.count("[") + text.count("(") <= scanning.MAX_NESTING:
        assert scan(text, max_tokens=10_000) >= tokens


def test_documents_are_kept_within_bounds() -> None:
    kept = Documents(max_tokens=30)
    core = schema.graphql_schema
    limits: dict[str, Any] = {"max_tokens": 100, "max_depth": 5, "max_aliases": 5}
    first = kept.get(core, "{ hello }", **limits)
    assert kept.get(core, "{ hello }", **limits) is first
    for number in range(10):
        kept.get(core, f"{{ a{number}: hello }}", **limits)
    assert kept._tokens <= 30
    assert kept._tokens == sum(document.tokens for document, _ in kept._kept.values())
    assert kept.get(core, "{ hello }", **limits) is not first


def test_the_usual_introspection_passes(acme: Customer) -> None:
    paid = 0
    for depth in (7, 9):
        answer = ask(Api(acme), get_introspection_query(type_depth=depth))
        assert answer.status == 200, answer.content[:500]
        paid += answer.body["extensions"]["cost"]["actual"]
    assert measuring.MAX_INTROSPECTION_DEPTH >= 15
    assert 0 < ledger.units(acme.tenant) == paid


_NAMES = st.sampled_from(
    ["hello", "thing", "number", "next", "others", "word", "things", "edges", "node", "predict", "units", "__typename",
     "__schema", "types", "name", "x", "boom", "neededBoom", "query", "on", "true", "fragment"]
)  # fmt: skip
_PIECES = st.sampled_from(
    ["{", "}", "(", ")", "[", "]", ":", "$a", "!", "@skip(if: true)", "...", "... on Thing", "fragment F on Query", "...F",
     "number: 1", "first: 3", 'name: "é\\u{1F600}"', "query Q($a: Int = 1)", "mutation", "#c\n", '"""b"""', "1e9", "-0", "|", "&",
     "a:", ",", "\ufeff"]
)  # fmt: skip


def _selection(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(inner, min_size=1, max_size=4).map(lambda parts: " ".join(parts))


_FIELDS = st.recursive(
    _NAMES,
    lambda inner: st.builds(
        lambda alias, name, arguments, below: f"{alias}{name}{arguments} {{ {below} }}",
        st.sampled_from(["", "a: ", "b: "]),
        _NAMES,
        st.sampled_from(["", "(number: 1)", "(first: 2)", '(inputData: "x")', "(number: $a)"]),
        _selection(inner),
    ),
    max_leaves=12,
)


@pytest.mark.django_db
@examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.one_of(
        _selection(_FIELDS).map(lambda fields: f"{{ {fields} }}"),
        st.lists(st.one_of(_NAMES, _PIECES), max_size=30).map(" ".join),
        st.text(max_size=60),
    ),
    variables=st.dictionaries(
        st.sampled_from(["a", "b"]), st.one_of(st.integers(), st.text(max_size=5), st.none()), max_size=2
    ),
)
def test_no_document_gets_a_5xx(acme: Customer, document: str, variables: dict[str, Any]) -> None:
    answer = Api(acme).post("/graphql", {"query": document, "variables": variables})
    assert answer.status in {200, 400}, answer.content[:500]
    for error in answer.body.get("errors", []):
        unexpected = error["extensions"]["code"] == "INTERNAL"
        assert not unexpected or error["path"][-1] in {"boom", "a", "b"}, error
    assert ledger.holds(acme.tenant) == 0
    assert the_schema() is schema.graphql_schema
