"""Recommendations: what fits comes first, strictly within a tenant, and every input is charged once."""

from dataclasses import replace

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing import contracts
from billing.charging import Refused
from billing.models import LimitRule, Price
from inference.models import Item, Like, Rollout, RolloutKind
from inference.recommendations import audience, candidates, recommendations
from inference.recommendations.recommendations import Recommendations
from inference.registry import versions
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import api_keys
from tenants.authentication import authenticate
from tests.conftest import Customer
from tests.inference.recommendations.asking import FEE, ask, charged, copy_of, ids, one
from tests.support import ledger
from tests.support.audience import GARDEN, SPACE, books, call, caller_of, entry, make_user, upsert
from tests.support.graphql import ask as ask_graphql
from tests.support.live_worker import LiveWorker
from tests.support.rest import Api
from tests.support.tiny_model import make_version

pytestmark = pytest.mark.usefixtures("prices")


def test_what_fits_the_likes_comes_first_and_what_is_liked_does_not_come(
    acme: Customer, live_worker: LiveWorker
) -> None:
    upsert(acme)
    found = one(ask(acme, make_user(acme, likes=("g1", "g2"))))
    assert set(ids(found)[:2]) == {"g3", "g4"}
    assert set(ids(found)[2:]) == set(SPACE)
    scores = [item.score for item in found.items]
    assert all(score is not None and 0 < score < 1 for score in scores)
    assert scores == sorted(scores, key=lambda score: -(score or 0))
    assert (found.basis, found.model, found.model_version) == ("likes", "recommender", "1.0.0")
    best = found.items[0]
    assert best.title == GARDEN[best.item_id]
    assert best.categories == ("garden",)


def test_the_limit_cuts_the_end_off(acme: Customer, live_worker: LiveWorker) -> None:
    upsert(acme)
    user = make_user(acme, likes=("g1",))
    whole = one(ask(acme, user))
    assert one(ask(acme, user, limit=3)).items == whole.items[:3]
    for limit in (0, -1, recommendations.MAX_LIMIT + 1):
        with pytest.raises(PlatformError) as raised:
            ask(acme, user, limit=limit)
        assert (raised.value.kind, raised.value.field) == (ErrorKind.INVALID_INPUT, "limit")


def test_one_user_is_one_prediction_and_the_same_again_is_cached(acme: Customer, live_worker: LiveWorker) -> None:
    upsert(acme)
    user = make_user(acme, likes=("g1",))
    before = charged(acme)
    first, second = ask(acme, user), ask(acme, user)
    assert (first.units, one(first).units, one(first).cached) == (1, 1, False)
    assert (second.units, one(second).cached) == (0, True)
    assert one(second).items == one(first).items
    assert charged(acme) == sorted([*before, ("predict", "recommender", 1), ("predict", "recommender", 0)])
    assert ledger.holds(acme.tenant) == 0


def test_a_new_like_changes_what_is_recommended(acme: Customer, live_worker: LiveWorker) -> None:
    upsert(acme)
    assert ids(one(ask(acme, make_user(acme, likes=("g1",)))))[0] in GARDEN
    user = make_user(acme, likes=("s1", "s2", "s3"))
    assert ids(one(ask(acme, user)))[:2] in (["s4", "g2"], ["s4", "g3"], ["s4", "g4"])
    audience.remove_like(tenant_id=acme.tenant.pk, user_id="ada", item_id="s1")
    assert "s1" in ids(one(ask(acme, user)))


def test_without_likes_the_preferences_decide(acme: Customer, live_worker: LiveWorker) -> None:
    upsert(acme)
    found = one(ask(acme, make_user(acme, prefers=("space", "cooking"))))
    assert found.basis == "preferences"
    assert set(ids(found)[:4]) == set(SPACE)
    assert set(ids(found)[4:]) == set(GARDEN)


@pytest.mark.parametrize("prefers", [(), ("cooking",)])
def test_where_nothing_is_known_the_newest_come_unscored_and_free(
    acme: Customer, live_worker: LiveWorker, prefers: tuple[str, ...]
) -> None:
    upsert(acme)
    before = charged(acme)
    answer = ask(acme, make_user(acme, prefers=prefers), limit=3)
    found = one(answer)
    assert ids(found) == ["s4", "g4", "s3"]
    assert [item.score for item in found.items] == [None] * 3
    assert (found.basis, found.units, answer.units, answer.decision) == ("newest", 0, 0, None)
    assert charged(acme) == before


def test_nothing_is_left_to_recommend(acme: Customer, live_worker: LiveWorker) -> None:
    upsert(acme)
    user = make_user(acme, likes=(*GARDEN, *SPACE))
    before = charged(acme)
    found = one(ask(acme, user))
    assert (found.items, found.basis, found.units) == ((), "likes", 0)
    assert charged(acme) == before


def test_tenants_with_the_same_ids_never_mix(acme: Customer, globex: Customer, live_worker: LiveWorker) -> None:
    upsert(acme)
    upsert(globex, *(entry(one.external_id, f"{one.title} for everybody", *one.categories) for one in books()[:6]))
    ours, theirs = make_user(acme, likes=("g1",)), make_user(globex, likes=("s1", "s2"))
    found, other = one(ask(acme, ours)), one(ask(globex, theirs))
    assert len(found.items) == 7
    assert not any("for everybody" in item.title for item in found.items)
    assert len(other.items) == 4
    assert all("for everybody" in item.title for item in other.items)
    spent = charged(acme), charged(globex)
    for foreign in ([theirs], [ours, theirs]):
        with pytest.raises(PlatformError) as raised:
            ask(acme, *foreign)
        assert raised.value.kind is ErrorKind.NOT_FOUND
    assert (charged(acme), charged(globex)) == spent
    audience.remove_user(tenant_id=globex.tenant.pk, external_id="ada")
    assert Like.objects.count() == 1


def test_several_users_are_one_batch_and_get_what_each_gets_alone(acme: Customer, live_worker: LiveWorker) -> None:
    upsert(acme)
    users = [
        make_user(acme, "ada", likes=("g1", "g2")),
        make_user(acme, "bob", prefers=("space",)),
        make_user(acme, "cyd"),
        make_user(acme, "dan", likes=("s1",)),
    ]
    before = charged(acme)
    together = ask(acme, *users)
    assert together.units == FEE + 3
    assert charged(acme) == sorted([*before, *[("batch", "recommender", 1)] * 3, ("batch", "", FEE)])
    for user, result in zip(users, together.results, strict=True):
        alone = one(ask(acme, user))
        assert isinstance(result, Recommendations)
        assert (alone.items, alone.basis) == (result.items, result.basis)
    plain = recommendations.recommend(caller_of(acme), users=users[:1], limit=2, context=call(operation="batch"))
    assert [ids(item) for item in plain if isinstance(item, Recommendations)] == [ids(one(ask(acme, users[0])))[:2]]


def test_no_users_asked_nothing_charged(acme: Customer, live_worker: LiveWorker) -> None:
    assert ask(acme).results == ()
    ledger.assert_untouched(acme)


def fill(customer: Customer, count: int) -> None:
    """Items that are embedded already, as random directions."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(count, 384)).astype("<f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    Item.objects.bulk_create(
        Item(
            tenant=customer.tenant,
            external_id=f"n{number}",
            title=f"Number {number}",
            categories=["rare"] if number < 3 else [],
            embedding=vector.tobytes(),
            embedded_by="minilm@1.0.0",
        )
        for number, vector in enumerate(vectors)
    )


def test_more_items_than_fit_one_input_are_still_one_call(acme: Customer, live_worker: LiveWorker) -> None:
    fill(acme, 300)
    answer = ask(acme, make_user(acme, likes=("n7",)), limit=100)
    found = one(answer)
    assert answer.units == 3  # 299 candidates
    assert charged(acme) == [("predict", "", 0), *[("predict", "recommender", 1)] * 3], "the first counts the call"
    assert sum(record.body["requests"] for record in ledger.records(acme.tenant)) == 1
    liked = np.frombuffer(Item.objects.get(external_id="n7").embedding or b"", "<f4")
    cosines = {row.external_id: float(np.frombuffer(row.embedding or b"", "<f4") @ liked) for row in Item.objects.all()}
    expected = sorted(cosines.keys() - {"n7"}, key=lambda name: -cosines[name])[:100]
    assert ids(found) == expected


def test_of_too_many_items_those_of_preferred_categories_come_first_and_the_newest(
    acme: Customer, monkeypatch: pytest.MonkeyPatch, live_worker: LiveWorker
) -> None:
    monkeypatch.setattr(candidates, "MAX_CANDIDATES", 10)
    fill(acme, 50)
    user = make_user(acme, likes=("n49", "n20"), prefers=("rare",))
    found = one(ask(acme, user, limit=100))
    assert set(ids(found)) == {"n0", "n1", "n2", *(f"n{number}" for number in range(42, 49))}


def test_only_the_newest_likes_tell_the_taste(acme: Customer, live_worker: LiveWorker) -> None:
    fill(acme, 60)
    old, new = [f"n{number}" for number in range(20)], [f"n{number}" for number in range(20, 36)]
    user = make_user(acme, likes=(*old, *new))
    (taste,) = candidates.tastes([user], tenant_id=acme.tenant.pk, seeds=16)
    assert set(taste.seeds) == set(Item.objects.filter(external_id__in=new).values_list("pk", flat=True))
    assert len(taste.candidates) == 24


def test_the_number_of_queries_does_not_grow_with_the_users(acme: Customer, live_worker: LiveWorker) -> None:
    fill(acme, 40)
    users = [make_user(acme, f"user-{number}", likes=(f"n{number}",), prefers=("rare",)) for number in range(8)]
    caller = caller_of(acme)
    ask(acme, users[0])  # prices, contracts and the month so far are in memory from now on
    counts = []
    for some in (users[:2], users):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            recommendations.answer(caller, users=some, limit=5, context=call())
        counts.append(len(queries))
    assert counts == [3, 3]


def test_too_many_users_at_once_are_refused_untouched(
    acme: Customer, monkeypatch: pytest.MonkeyPatch, live_worker: LiveWorker
) -> None:
    monkeypatch.setattr(recommendations, "MAX_INPUTS", 3)
    fill(acme, 200)
    users = [make_user(acme, f"user-{number}", likes=("n1",)) for number in range(2)]
    with pytest.raises(PlatformError) as raised:
        ask(acme, *users)
    assert raised.value.kind is ErrorKind.CHARGE_TOO_LARGE
    ledger.assert_untouched(acme)
    assert len(one(ask(acme, users[0])).items) == 10


def test_users_of_whom_nothing_is_known_are_not_without_number(
    acme: Customer, monkeypatch: pytest.MonkeyPatch, live_worker: LiveWorker
) -> None:
    monkeypatch.setattr(recommendations, "MAX_INPUTS", 2)
    users = [make_user(acme, f"user-{number}") for number in range(3)]
    looked: list[object] = []
    monkeypatch.setattr(candidates, "tastes", lambda *args, **options: looked.append(args))
    with pytest.raises(PlatformError) as raised:
        ask(acme, *users)
    assert raised.value.kind is ErrorKind.CHARGE_TOO_LARGE
    assert "3 users" in raised.value.detail
    assert looked == []


# --- Scopes, models, limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("users", "scope"), [(1, "predict"), (2, "batch")])
def test_the_scope_of_the_operation_is_needed(acme: Customer, live_worker: LiveWorker, users: int, scope: str) -> None:
    upsert(acme)
    before = charged(acme)
    other = {"predict", "batch"} - {scope}
    key = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["endusers:read", *other])
    caller = authenticate(key.secret, address="192.0.2.1")
    them = [make_user(acme, f"user-{number}", likes=("g1",)) for number in range(users)]
    with pytest.raises(PlatformError) as raised:
        recommendations.answer(caller, users=them, limit=3, context=call())
    assert (raised.value.kind, raised.value.extra) == (ErrorKind.FORBIDDEN, {"required_scope": scope})
    assert charged(acme) == before


def test_a_key_that_may_not_use_the_model_gets_its_problem(acme: Customer, live_worker: LiveWorker) -> None:
    upsert(acme)
    before = charged(acme)
    key = api_keys.issue(tenant=acme.tenant, name="Narrow", allowed_models=["minilm"])
    caller = authenticate(key.secret, address="192.0.2.1")
    user = make_user(acme, likes=("g1",))
    (result,) = recommendations.recommend(caller, users=[user], limit=3, context=call())
    assert isinstance(result, PlatformError)
    assert result.kind is ErrorKind.NOT_FOUND
    assert charged(acme) == before


def test_models_of_the_tenant_with_these_names_take_no_part(acme: Customer, live_worker: LiveWorker) -> None:
    """Recommendations are the platform's, and so are the models that they are made with, whatever a tenant calls its own."""
    for name in ("minilm", "recommender"):
        make_version(name, "7.0.0", owner=acme.tenant)
        Price.objects.create(operation="batch", model=f"acme/{name}", per_input=999)
        Price.objects.create(operation="predict", model=f"acme/{name}", per_input=999)
    upsert(acme)
    assert set(Item.objects.values_list("embedded_by", flat=True)) == {"minilm@1.0.0"}
    found = one(ask(acme, make_user(acme, likes=("g1",))))
    assert (found.model, found.model_version, found.basis) == ("recommender", "1.0.0", "likes")
    assert {record.body["model"] for record in ledger.records(acme.tenant)} - {""} == {"minilm", "recommender"}
    query = '{ user(id: "ada") { recommendations { itemId model { name version } } } }'
    answer = ask_graphql(Api(acme), query).body
    assert answer["data"]["user"]["recommendations"][0]["model"] == {"name": "recommender", "version": "1.0.0"}
    assert answer["extensions"]["cost"]["units"]["predictions"]["requested"] == 1


def test_a_canary_of_the_recommender_answers_its_share_and_one_of_the_encoder_none(
    acme: Customer, live_worker: LiveWorker
) -> None:
    """Vectors of two versions cannot be compared, and the catalogue has those of the live one."""
    for name in ("minilm", "recommender"):
        candidate = copy_of(name, live_worker)
        Rollout.objects.create(model=candidate.model, candidate=candidate, kind=RolloutKind.CANARY, percent=100)
    versions.forget()
    upsert(acme)
    assert set(Item.objects.values_list("embedded_by", flat=True)) == {"minilm@1.0.0"}
    answer = ask(acme, make_user(acme, likes=("g1",)))
    assert (one(answer).model, one(answer).model_version, answer.embedded) == ("recommender", "2.0.0", 0)


def test_a_refused_call_is_not_charged(acme: Customer, live_worker: LiveWorker) -> None:
    upsert(acme)
    LimitRule.objects.filter(plan=acme.plan).update(amount=1, rate=0.001)
    contracts.forget_all()
    ask(acme, make_user(acme, "ada", likes=("g1",)))
    before = charged(acme)
    with pytest.raises(Refused):
        ask(acme, make_user(acme, "bob", likes=("g2",)))
    assert charged(acme) == before
    assert ledger.holds(acme.tenant) == 0


def test_an_encoder_of_other_dimensions_is_told_and_not_an_error_of_the_caller(
    acme: Customer, live_worker: LiveWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    wider = replace(versions.resolve("minilm"), outputs=768)
    monkeypatch.setattr("inference.recommendations.forms.embedder", lambda: wider)
    with pytest.raises(PlatformError) as raised:
        ask(acme, make_user(acme))
    assert raised.value.kind is ErrorKind.UNAVAILABLE
