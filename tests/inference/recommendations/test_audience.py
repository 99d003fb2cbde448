"""Users, items and likes are kept as the tenant has them, found within it alone, and forgotten without a trace."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.db import connection
from pytest_django import Settings

from inference.models import EndUser, Item, Like
from inference.recommendations import audience, embedding, items
from inference.recommendations.audience import Kept
from inference.recommendations.entries import LikeEntry, UserEntry
from inference.recommendations.items import KeptItems
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.conftest import Customer
from tests.support import ledger
from tests.support.audience import books, call, caller_of, entry, make_user, upsert
from tests.support.live_worker import LiveWorker
from tests.support.rest import Api

pytestmark = pytest.mark.usefixtures("prices")

FEE = 50


def snapshot() -> Any:
    """Every row of an audience, of every tenant."""
    return [list(model._default_manager.order_by("pk").values()) for model in (EndUser, Item, Like)]


def refused(kind: ErrorKind, work: Callable[[], object], *, field: str | None = None) -> None:
    """The work is refused, and nothing has changed."""
    before = snapshot()
    with pytest.raises(PlatformError) as raised:
        work()
    assert raised.value.kind is kind
    assert raised.value.field == field
    assert snapshot() == before


# --- Users ------------------------------------------------------------------------------------------------------------------


def test_users_are_added_and_replaced(acme: Customer) -> None:
    tenant_id = acme.tenant.pk
    first = audience.upsert_users(tenant_id=tenant_id, entries=[UserEntry("ada", "Ada", ("space",)), UserEntry("bob")])
    born = EndUser.objects.get(external_id="ada").created_at
    second = audience.upsert_users(tenant_id=tenant_id, entries=[UserEntry("cyd"), UserEntry("ada", "Ada L.")])
    assert (first, second) == (Kept(2, 0), Kept(1, 1))
    ada = audience.user(tenant_id=tenant_id, external_id="ada")
    assert ada is not None
    assert (ada.name, ada.categories, ada.created_at) == ("Ada L.", [], born)
    assert ada.updated_at > born
    assert set(audience.users(tenant_id=tenant_id, external_ids=["ada", "bob", "eve"])) == {"ada", "bob"}


def test_there_is_an_end_to_users(acme: Customer, globex: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "MAX_USERS", 2)
    make_user(globex, "eve")
    make_user(acme, "ada")
    make_user(acme, "bob")
    make_user(acme, "ada", prefers=("space",))
    refused(
        ErrorKind.CONFLICT,
        lambda: audience.upsert_users(tenant_id=acme.tenant.pk, entries=[UserEntry("ada"), UserEntry("cyd")]),
    )
    kept = EndUser.objects.filter(tenant=acme.tenant).order_by("external_id")
    assert [(user.external_id, user.categories) for user in kept] == [("ada", ["space"]), ("bob", [])]


def test_a_removed_user_is_forgotten_with_all_it_likes(
    acme: Customer, globex: Customer, live_worker: LiveWorker
) -> None:
    for customer in (acme, globex):
        upsert(customer)
        make_user(customer, "ada", likes=("g1", "s1"))
    make_user(acme, "bob", likes=("g1",))
    audience.remove_user(tenant_id=acme.tenant.pk, external_id="ada")
    assert audience.user(tenant_id=acme.tenant.pk, external_id="ada") is None
    assert Like.objects.filter(user__tenant=acme.tenant).count() == 1
    assert Like.objects.filter(user__tenant=globex.tenant).count() == 2
    assert Item.objects.filter(tenant=acme.tenant).count() == 8
    refused(ErrorKind.NOT_FOUND, lambda: audience.remove_user(tenant_id=acme.tenant.pk, external_id="ada"))


def test_a_tenant_that_goes_takes_its_audience_with_it(
    acme: Customer, globex: Customer, live_worker: LiveWorker
) -> None:
    for customer in (acme, globex):
        upsert(customer)
        make_user(customer, "ada", likes=("g1",))
    EndUser.objects.filter(tenant=acme.tenant).delete()
    Item.objects.filter(tenant=acme.tenant).delete()
    assert set(Like.objects.values_list("item__tenant", flat=True)) == {globex.tenant.pk}


# --- Likes ------------------------------------------------------------------------------------------------------------------


def test_likes_are_added_once(acme: Customer, live_worker: LiveWorker) -> None:
    upsert(acme)
    make_user(acme, "ada", likes=("g1",))
    entries = [LikeEntry("ada", "g2"), LikeEntry("ada", "g1"), LikeEntry("ada", "g2")]
    assert audience.add_likes(tenant_id=acme.tenant.pk, entries=entries) == Kept(1, 1)
    assert Like.objects.count() == 2


@pytest.mark.parametrize(("user", "item", "field"), [("eve", "g1", "user_id"), ("ada", "x9", "item_id")])
def test_a_like_of_what_is_not_there_is_refused_with_all_others(
    acme: Customer, globex: Customer, live_worker: LiveWorker, user: str, item: str, field: str
) -> None:
    upsert(acme)
    make_user(acme, "ada")
    upsert(globex, entry("x9", "Of somebody else"))
    make_user(globex, "eve")
    entries = [LikeEntry("ada", "g2", "likes[0]."), LikeEntry(user, item, "likes[1].")]
    refused(
        ErrorKind.INVALID_INPUT,
        lambda: audience.add_likes(tenant_id=acme.tenant.pk, entries=entries),
        field=f"likes[1].{field}",
    )
    assert not Like.objects.exists()


def test_a_like_is_taken_back_and_another_tenants_is_not(
    acme: Customer, globex: Customer, live_worker: LiveWorker
) -> None:
    for customer in (acme, globex):
        upsert(customer)
        make_user(customer, "ada", likes=("g1", "g2"))
    audience.remove_like(tenant_id=acme.tenant.pk, user_id="ada", item_id="g1")
    assert Like.objects.filter(user__tenant=acme.tenant).count() == 1
    assert Like.objects.filter(user__tenant=globex.tenant).count() == 2
    for user, item in (("ada", "g1"), ("bob", "g2"), ("ada", "no-such")):
        refused(
            ErrorKind.NOT_FOUND,
            lambda user=user, item=item: audience.remove_like(  # type: ignore[misc]
                tenant_id=acme.tenant.pk, user_id=user, item_id=item
            ),
        )


# --- Items ------------------------------------------------------------------------------------------------------------------


def test_items_are_embedded_as_they_come_and_charged_as_a_batch(acme: Customer, live_worker: LiveWorker) -> None:
    made = upsert(acme, entry("a", "A title", "one", "two", description=" And more. "), entry("b", "Another"))
    assert (made.kept, made.embedded, made.units) == (Kept(2, 0), 2, FEE + 2)
    assert made.decision is not None
    row = Item.objects.get(external_id="a")
    assert row.embedded_by == "minilm@1.0.0"
    vector = np.frombuffer(row.embedding or b"", "<f4")
    assert vector.shape == (384,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
    records = ledger.records(acme.tenant)
    assert sorted((r.body["operation"], r.body["model"], r.units) for r in records) == [
        ("batch", "", FEE),
        ("batch", "minilm", 1),
        ("batch", "minilm", 1),
    ]
    texts = [item.payload.decode()[1:] for batch in live_worker.batches for item in batch.items]
    assert sorted(texts) == ["A title\nAnd more.\none, two", "Another"]


def test_of_a_long_text_the_beginning_is_embedded_and_that_is_said(acme: Customer, live_worker: LiveWorker) -> None:
    long = "A lamp that shines. " * 90
    made = upsert(
        acme, entry("a", "A title"), entry("b", "A lamp", description=long), entry("c", "A lamp", description=long)
    )
    assert [one is not None for one in made.truncated] == [False, True, True]
    assert made.truncated[1] == made.truncated[2]
    assert made.truncated[1] is not None
    assert (made.truncated[1].tokens > 400, made.truncated[1].max_tokens) == (True, 256)
    unchanged = upsert(acme, entry("b", "A lamp", description=long))
    assert (unchanged.embedded, unchanged.truncated) == (0, (None,))
    answer = Api(acme).post(
        "/v2/items",
        {"items": [{"external_id": "d", "title": "D"}, {"external_id": "e", "title": "E", "description": long}]},
    )
    assert answer.status == 200
    assert answer.headers["X-Input-Truncated"].startswith("1;tokens=")


def test_only_changed_texts_are_embedded_again(acme: Customer, live_worker: LiveWorker) -> None:
    upsert(acme)
    before = {row.external_id: bytes(row.embedding or b"") for row in Item.objects.all()}
    spent = ledger.units(acme.tenant)
    same = upsert(acme)
    assert (same.kept, same.embedded, same.units, same.decision) == (Kept(0, 8), 0, 0, None)
    assert ledger.units(acme.tenant) == spent
    changed = [entry("g1", "How to prune pear trees", "garden"), *books()[1:], entry("new", "A new one")]
    made = upsert(acme, *changed)
    assert (made.kept, made.embedded, made.units) == (Kept(1, 8), 2, FEE + 2)
    after = {row.external_id: bytes(row.embedding or b"") for row in Item.objects.all()}
    assert {name for name in before if after[name] != before[name]} == {"g1"}


def test_an_item_keeps_its_likes_and_its_age_when_it_is_replaced(acme: Customer, live_worker: LiveWorker) -> None:
    upsert(acme)
    make_user(acme, likes=("g1",))
    row = Item.objects.get(external_id="g1")
    upsert(acme, entry("g1", "How to prune pear trees"))
    again = Item.objects.get(external_id="g1")
    assert (again.pk, again.created_at) == (row.pk, row.created_at)
    assert (again.title, again.categories) == ("How to prune pear trees", [])
    assert Like.objects.filter(item=again).count() == 1


def test_items_of_the_same_id_stay_with_their_tenants(
    acme: Customer, globex: Customer, live_worker: LiveWorker
) -> None:
    upsert(acme)
    upsert(globex, entry("g1", "Ours"))
    audience.remove_item(tenant_id=globex.tenant.pk, external_id="g1")
    assert audience.item(tenant_id=globex.tenant.pk, external_id="g1") is None
    kept = audience.item(tenant_id=acme.tenant.pk, external_id="g1")
    assert kept is not None
    assert kept.title != "Ours"
    refused(ErrorKind.NOT_FOUND, lambda: audience.remove_item(tenant_id=globex.tenant.pk, external_id="s1"))


def test_what_cannot_be_embedded_keeps_nothing_of_the_call(acme: Customer, live_worker: LiveWorker) -> None:
    upsert(acme)
    spent = ledger.units(acme.tenant)
    late = lambda: upsert(acme, entry("new", "A new one"), entry("g1", "Changed"), timeout_s=0.0)  # noqa: E731
    refused(ErrorKind.TIMEOUT, late, field=None)
    assert ledger.units(acme.tenant) == spent
    assert ledger.holds(acme.tenant) == 0


def test_a_refused_charge_keeps_nothing(acme: Customer, live_worker: LiveWorker) -> None:
    acme.plan.limits.update(amount=40)
    refused(ErrorKind.CHARGE_TOO_LARGE, lambda: upsert(acme))
    assert ledger.records(acme.tenant) == []


def test_there_is_an_end_to_items_before_anything_is_charged(
    acme: Customer, globex: Customer, live_worker: LiveWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "MAX_ITEMS", 8)
    upsert(globex, entry("x", "Of somebody else"))
    upsert(acme)
    spent = ledger.units(acme.tenant)
    refused(ErrorKind.CONFLICT, lambda: upsert(acme, entry("one-more", "Too many")))
    assert ledger.units(acme.tenant) == spent
    assert upsert(acme, entry("g1", "Replaced")).kept == Kept(0, 1)


def test_a_text_that_another_call_changed_meanwhile_is_not_given_the_old_vector(
    acme: Customer, live_worker: LiveWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    upsert(acme)
    real = embedding.embed

    def slow(*arguments: Any, **named: Any) -> Any:
        monkeypatch.undo()
        upsert(acme, entry("g1", "Changed by another call"))
        return real(*arguments, **named)

    monkeypatch.setattr(items, "embed", slow)
    upsert(acme, books()[0], entry("new", "A new one"))  # g1 as it was: nothing to embed, when it began
    row = Item.objects.get(external_id="g1")
    assert row.title == books()[0].title
    assert (row.embedding, row.embedded_by) == (None, "")


@pytest.mark.django_db(transaction=True)
def test_calls_at_the_same_time_keep_each_item_once(
    acme: Customer, live_worker: LiveWorker, settings: Settings
) -> None:
    found: list[KeptItems | Exception] = []

    def work(number: int) -> None:
        try:
            found.append(upsert(acme, *books()[number:], *books()[:number]))
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            found.append(error)
        finally:
            connection.close()

    caller_of(acme)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [one for one in found if isinstance(one, Exception)] == []
    assert sum(one.kept.created for one in found if isinstance(one, KeptItems)) == 8
    assert Item.objects.filter(tenant=acme.tenant).exclude(embedding=None).count() == 8
    assert ledger.holds(acme.tenant) == 0


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_time_leave_no_call_waiting_or_broken(acme: Customer) -> None:
    tenant_id, names = acme.tenant.pk, [f"u{number:02}" for number in range(40)]
    for name in reversed(names):  # so that the order of ids is not that of rows
        make_user(acme, name)
    Item.objects.create(tenant=acme.tenant, external_id="i", title="I")
    mistakes: list[Exception] = []

    def like() -> None:
        audience.add_likes(tenant_id=tenant_id, entries=[LikeEntry(name, "i") for name in names])

    def write() -> None:
        audience.upsert_users(tenant_id=tenant_id, entries=[UserEntry(name) for name in names])

    def forget() -> None:
        audience.remove_user(tenant_id=tenant_id, external_id=names[7])

    def work(write_some: Callable[[], None]) -> None:
        try:
            for _ in range(15):
                with contextlib.suppress(PlatformError):  # a user that another call has just removed
                    write_some()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            mistakes.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(one,)) for one in (like, write, forget, like, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert mistakes == []
    like_or_not = Like.objects.filter(user__tenant=acme.tenant).count()
    assert like_or_not <= EndUser.objects.filter(tenant=acme.tenant).count()


# --- Pages ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_name_every_row_once(acme: Customer, globex: Customer, limit: int) -> None:
    names = sorted(f"user-{number}" for number in range(7))
    for customer in (acme, globex):
        audience.upsert_users(tenant_id=customer.tenant.pk, entries=[UserEntry(name) for name in names])
    seen: list[str] = []
    after = ""
    while True:
        page = audience.user_page(tenant_id=acme.tenant.pk, after=after, limit=limit)
        assert 0 < len(page.rows) <= limit
        seen += [row.external_id for row in page.rows]
        after = page.next
        if not after:
            break
    assert seen == names


def test_context_of_another_operation_is_still_a_batch(acme: Customer, live_worker: LiveWorker) -> None:
    made = items.upsert_items(caller_of(acme), entries=books()[:1], context=call(operation="predict"))
    assert made.units == FEE + 1
