"""The demo's customers: fresh secrets at the first start, the same ones at the next, and other users cannot read them."""

import json
import stat
from pathlib import Path

import pytest
from django.contrib.auth import authenticate as sign_in
from pytest_django import Settings

from billing.models import LimitRule, Plan, Price, Subscription
from inference.models import EndUser, Item, Like
from inference.recommendations import entries
from mlplatform import demo_data
from tenants import authentication
from tenants.deprecations import schedules
from tenants.models import ApiKey, DeprecationSchedule, Tenant, User

pytestmark = pytest.mark.django_db
NAMES = {"base_url", "grpc_target", "tenants", "admin_url", "admin_username", "admin_password"}


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, settings: Settings) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


def rows() -> tuple[int, ...]:
    return tuple(
        model.objects.count()
        for model in (
            Tenant, ApiKey, User, Plan, LimitRule, Price, Subscription, DeprecationSchedule, EndUser, Item, Like
        )
    )  # fmt: skip


def test_what_is_written_works_and_only_its_owner_can_read_it(data_dir: Path) -> None:
    path = demo_data.seed()
    assert path == data_dir / "demo.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    demo = json.loads(path.read_text())
    assert set(demo) == NAMES
    assert set(demo["tenants"]) == {"acme", "globex"}
    for slug, entry in demo["tenants"].items():
        assert authentication.authenticate(entry["api_key"], address="127.0.0.1").tenant_slug == slug
        assert sign_in(username=entry["username"], password=entry["password"]) is not None
    admin = sign_in(username=demo["admin_username"], password=demo["admin_password"])
    assert isinstance(admin, User)
    assert admin.is_superuser
    assert [path.name for path in data_dir.iterdir()] == ["demo.json"]
    for rule in LimitRule.objects.all():
        rule.full_clean()


def test_a_second_start_changes_nothing_but_addresses(settings: Settings) -> None:
    path = demo_data.seed()
    first, before = json.loads(path.read_text()), rows()
    settings.BASE_URL = "http://127.0.0.1:9999"
    demo_data.seed()
    second = json.loads(path.read_text())
    assert rows() == before
    assert second["base_url"] == "http://127.0.0.1:9999"
    assert (second["tenants"], second["admin_password"]) == (first["tenants"], first["admin_password"])


def test_the_logins_of_an_earlier_release_go_on_under_their_new_names() -> None:
    path = demo_data.seed()
    first = json.loads(path.read_text())
    old = {
        slug: {name if name == "api_key" else f"portal_{name}": value for name, value in entry.items()}
        for slug, entry in first["tenants"].items()
    }
    path.write_text(json.dumps(first | {"tenants": old, "portal_url": "http://127.0.0.1:8000/portal/"}))
    demo_data.seed()
    assert json.loads(path.read_text()) == first
    assert "portal" not in path.read_text()


def test_a_lost_file_is_written_anew_with_fresh_secrets(data_dir: Path) -> None:
    path = demo_data.seed()
    first = json.loads(path.read_text())
    path.unlink()
    demo_data.seed()
    second = json.loads(path.read_text())
    for slug in ("acme", "globex"):
        assert first["tenants"][slug]["api_key"] != second["tenants"][slug]["api_key"]
        entry = second["tenants"][slug]
        assert sign_in(username=entry["username"], password=entry["password"]) is not None
    assert second["admin_password"] != first["admin_password"]
    assert Tenant.objects.count() == 2


def test_prices_that_staff_changed_are_left() -> None:
    demo_data.seed()
    Price.objects.all().update(per_input=77)
    Plan.objects.filter(name="Pro").update(monthly_fee=1)
    demo_data.seed()
    assert set(Price.objects.values_list("per_input", flat=True)) == {77}
    assert Plan.objects.get(name="Pro").monthly_fee == 1


def test_the_end_of_v1_is_announced_once() -> None:
    demo_data.seed()
    schedule = DeprecationSchedule.objects.get()
    assert (schedule.subject, schedule.successor) == ("v1", "v2")
    schedule.full_clean()
    schedules.cancel(schedule)
    demo_data.seed()
    assert not DeprecationSchedule.objects.filter(canceled_at__isnull=True).exists()


def test_a_default_version_is_not_ended(settings: Settings) -> None:
    settings.DEFAULT_API_VERSION = "v1"
    demo_data.seed()
    assert not DeprecationSchedule.objects.exists()


def test_acme_sells_books_to_readers_and_globex_has_none(data_dir: Path) -> None:
    demo_data.seed()
    assert set(Item.objects.values_list("tenant__slug", flat=True)) == {"acme"}
    assert (Item.objects.count(), EndUser.objects.count(), Like.objects.count()) == (40, 5, 10)
    for item in Item.objects.all():
        entries.items(
            {
                "items": [
                    {
                        "external_id": item.external_id,
                        "title": item.title,
                        "description": item.description,
                        "categories": item.categories,
                    }
                ]
            },
        )
    EndUser.objects.get(external_id="reader-1").delete()
    (data_dir / "demo.json").unlink()
    demo_data.seed()
    assert EndUser.objects.count() == 4, "what was deleted stays deleted"
