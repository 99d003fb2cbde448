"""Staff read end users and items of every tenant, and write none of them."""

import pytest

from inference.models import EndUser, Item, Like
from tests.conftest import Customer
from tests.support import staff

USERS, ITEMS = "/admin/inference/enduser/", "/admin/inference/item/"


@pytest.fixture
def like(acme: Customer, globex: Customer) -> Like:
    """Ada of acme likes a book; globex has a user and an item with the same ids."""
    for customer in (globex, acme):
        user = EndUser.objects.create(
            tenant=customer.tenant,
            external_id="ada",
            name=f"Ada of {customer.tenant}",
            preferences={"categories": ["space"]},
        )
        item = Item.objects.create(
            tenant=customer.tenant,
            external_id="b1",
            title=f"A book of {customer.tenant}",
            embedding=b"\x00\x01\x02\x03",
        )
    return Like.objects.create(user=user, item=item)


def test_lists_search_by_the_whole_id_or_a_part_of_the_name(like: Like) -> None:
    client = staff.signed_in(staff.superuser())
    for page, names in ((USERS, ("Ada of Acme", "Ada of Globex")), (ITEMS, ("A book of Acme", "A book of Globex"))):
        whole = client.get(page).content.decode()
        assert all(name in whole for name in names)
        found = client.get(page, {"q": "of Acme"}).content.decode()
        assert (names[0] in found, names[1] in found) == (True, False)
    assert "Ada of Acme" in client.get(USERS, {"q": "ada"}).content.decode()
    assert "A book" not in client.get(ITEMS, {"q": "xb1"}).content.decode()


def test_a_row_of_a_list_is_short_and_a_page_is_whole(acme: Customer) -> None:
    categories = [f"category {number}" for number in range(32)]
    user = EndUser.objects.create(
        tenant=acme.tenant, external_id="i" * 128, name="N" * 200, preferences={"categories": categories}
    )
    client = staff.signed_in(staff.superuser())
    listed, page = client.get(USERS).content.decode(), client.get(f"{USERS}{user.pk}/change/").content.decode()
    assert ("category 2" in listed, "category 3" in listed, "and 29 more" in listed) == (True, False, True)
    assert ("N" * 47 in listed, "N" * 48 in listed, "i" * 48 in listed) == (True, False, False)
    for whole in ("category 31", "N" * 200, "i" * 128):
        assert whole in page


def test_a_page_shows_who_likes_what_and_no_vector(like: Like) -> None:
    client = staff.signed_in(staff.superuser())
    user = client.get(f"{USERS}{like.user_id}/change/").content.decode()
    assert "A book of Acme" in user
    assert f"{ITEMS}{like.item_id}/change/" in user
    assert "space" in user
    item = client.get(f"{ITEMS}{like.item_id}/change/").content.decode()
    assert "Ada of Acme" in item
    assert "none yet" in item
    assert "x00" not in item
    assert "\x00" not in item


def test_the_number_of_queries_does_not_grow_with_the_rows(
    like: Like, django_assert_max_num_queries: object, acme: Customer
) -> None:
    items = Item.objects.bulk_create(
        Item(tenant=acme.tenant, external_id=f"n{number}", title=f"Number {number}") for number in range(60)
    )
    Like.objects.bulk_create(Like(user=like.user, item=item) for item in items)
    client = staff.signed_in(staff.superuser())
    for page in (USERS, ITEMS, f"{USERS}{like.user_id}/change/"):
        with django_assert_max_num_queries(12):  # type: ignore[operator]
            assert client.get(page).status_code == 200


@pytest.mark.parametrize("role", ["support", "models", "billing", ""])
def test_only_support_sees_them_and_no_role_changes_or_deletes_one(like: Like, role: str) -> None:
    client = staff.signed_in(staff.with_role(role))
    may = 200 if role == "support" else 403
    for page, pk in ((USERS, like.user_id), (ITEMS, like.item_id)):
        assert client.get(page).status_code == may
        assert client.get(f"{page}{pk}/change/").status_code == may
        assert client.get(f"{page}add/").status_code == 403
        assert client.post(f"{page}{pk}/change/", {"name": "x", "title": "x"}).status_code == 403
        assert client.post(f"{page}{pk}/delete/", {"post": "yes"}).status_code == 403
    assert (EndUser.objects.count(), Item.objects.count(), Like.objects.count()) == (2, 2, 1)
    assert EndUser.objects.get(pk=like.user_id).name == "Ada of Acme"


def test_a_superuser_deletes_a_user_with_its_likes_and_nothing_else(like: Like) -> None:
    client = staff.signed_in(staff.superuser())
    assert client.post(f"{USERS}{like.user_id}/delete/", {"post": "yes"}).status_code == 302
    assert (EndUser.objects.count(), Item.objects.count(), Like.objects.count()) == (1, 2, 0)
