"""The page "Rollouts" of a model: what it shows, what its buttons do, and for whom."""

import pytest
from django.test import Client

from inference.models import MLModel, ModelVersion, Promotion, Rollout, RolloutState
from inference.registry import versions
from inference.registry.rollouts import trials
from inference.trials import canary, counting
from mlplatform.lib import clock
from mlplatform.lib.errors import PlatformError
from tenants.models import DeprecationSchedule
from tests.conftest import Customer
from tests.support import staff
from tests.support.impacted import DAY
from tests.support.tiny_model import make_version
from tests.support.walked_clock import published_at_once

__all__ = ["published_at_once"]

pytestmark = pytest.mark.usefixtures("published_at_once")


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


@pytest.fixture
def page(db: None) -> str:
    """Of ``tiny``, of which 2.0.0 was promoted after 1.0.0, and 3.0.0 is ready."""
    make_version()
    versions.promote(version=make_version(version="2.0.0", state="ready"))
    make_version(version="3.0.0", state="ready")
    return f"/admin/inference/mlmodel/{MLModel.objects.get().pk}/rollouts/"


def live() -> str:
    return versions.resolve("tiny").version


def test_roll_back_in_one_click(admin: Client, page: str) -> None:
    shown = admin.get(page).content.decode()
    assert "Roll back to 1.0.0" in shown
    assert staff.said(admin.post(page, {"act": "roll_back"}, follow=True)) == ["tiny@1.0.0 is live again."]
    assert live() == "1.0.0"
    latest = Promotion.objects.latest("pk")
    assert latest.by is not None
    shown = admin.get(page).content.decode()
    assert "Roll back to" not in shown
    (said,) = staff.said(admin.post(page, {"act": "roll_back"}, follow=True))
    assert "no version of tiny to go back to" in said
    assert live() == "1.0.0"


def test_a_canary_is_begun_changed_and_stopped(admin: Client, page: str) -> None:
    form = {"act": "start_canary", "version": "3.0.0", "percent": "10", "max_error_rate": "0.1"}
    form |= {"max_latency_ratio": "3", "min_calls": "20"}
    assert staff.said(admin.post(page, form, follow=True)) == ["tiny@3.0.0 answers 10 % of the tenants."]
    row = Rollout.objects.get()
    assert (row.percent, row.max_error_rate, row.max_latency_ratio, row.min_calls) == (10, 0.1, 3.0, 20)
    counting.add(row.pk, "canary", {"calls": 1000, "errors": 12})
    counting.flush()
    canary.judge_all()
    shown = admin.get(page).content.decode()
    assert "1,000" in shown
    assert "1.2%" in shown
    admin.post(page, form | {"percent": "40"}, follow=True)
    assert Rollout.objects.get().percent == 40
    assert staff.said(admin.post(page, {"act": "stop_canary"}, follow=True)) == ["The canary is stopped."]
    assert Rollout.objects.get().state == RolloutState.STOPPED
    assert staff.said(admin.post(page, {"act": "stop_canary"}, follow=True)) == ["No canary was running."]
    assert "What was tried" in admin.get(page).content.decode()


def test_a_shadow_is_begun_and_stopped(admin: Client, page: str) -> None:
    said = staff.said(admin.post(page, {"act": "start_shadow", "version": "3.0.0", "percent": "30"}, follow=True))
    assert said == ["tiny@3.0.0 computes 30 % of the inputs beside the live version."]
    row = Rollout.objects.get()
    counting.add(row.pk, "shadow", {"compared": 4, "agreed": 3, "difference_ppm": 100_000})
    counting.flush()
    canary.judge_all()
    shown = admin.get(page).content.decode()
    assert "75.0%" in shown
    assert "0.0250" in shown
    assert staff.said(admin.post(page, {"act": "stop_shadow"}, follow=True)) == ["The shadow is stopped."]


@pytest.mark.parametrize(
    "fields", [{"percent": "0"}, {"percent": ""}, {"version": "1.0"}, {"max_error_rate": "2"}, {"min_calls": "x"}]
)
def test_a_wrong_canary_is_refused_by_field(admin: Client, page: str, fields: dict[str, str]) -> None:
    form = {"act": "start_canary", "version": "3.0.0", "percent": "10", "max_error_rate": "0.1"}
    form |= {"max_latency_ratio": "3", "min_calls": "20"}
    answer = admin.post(page, form | fields)
    assert answer.status_code == 200
    assert list(answer.context["canary_form"].errors) == list(fields)
    assert not answer.context["shadow_form"].is_bound
    assert not Rollout.objects.exists()


def test_who_may_look_may_not_click(page: str) -> None:
    for role, may_look in (("support", True), ("", False)):
        client = staff.signed_in(staff.with_role(role))
        assert client.get(page).status_code == (200 if may_look else 403)
        for act in ("roll_back", "start_canary", "stop_canary"):
            assert client.post(page, {"act": act, "version": "3.0.0", "percent": "5"}).status_code == 403
    assert live() == "2.0.0"
    assert not Rollout.objects.exists()
    assert "Roll back to" not in staff.signed_in(staff.with_role("billing")).get(page).content.decode()
    assert staff.signed_in(staff.with_role("models")).post(page, {"act": "roll_back"}).status_code == 302
    assert live() == "1.0.0"


def test_a_private_model_says_whose_it_is(admin: Client, page: str, acme: Customer) -> None:
    MLModel.objects.update(owner=acme.tenant)
    versions.changed()
    shown = admin.get(page)
    assert "private to Acme" in shown.content.decode()
    assert shown.context["canary_form"]["percent"].initial == 100


def test_staff_make_a_model_private_and_others_lose_it(admin: Client, acme: Customer, globex: Customer) -> None:
    model = make_version().model
    fields = {"name": "tiny", "title": "", "description": "", "cache_ttl_s": "60", "pool": "gpu"}
    admin.post(
        f"/admin/inference/mlmodel/{model.pk}/change/",
        fields | {"owner": str(acme.tenant.pk)} | staff.no_rows("versions"),
    )
    model.refresh_from_db()
    assert model.owner == acme.tenant
    versions.forget()
    assert versions.resolve("tiny", tenant_id=acme.tenant.pk).qualified_name == "acme/tiny"
    with pytest.raises(PlatformError):
        versions.resolve("tiny", tenant_id=globex.tenant.pk)


def test_a_promotion_by_a_person_names_the_person(admin: Client, page: str) -> None:
    version = ModelVersion.objects.get(version="3.0.0")
    admin.post(f"/admin/inference/modelversion/{version.pk}/promote/", {"confirmed": "yes"})
    latest = Promotion.objects.latest("pk")
    assert (str(latest.version), latest.by and latest.by.email) == ("tiny@3.0.0", "ada@staff.example")


def test_without_a_live_version_nothing_is_tried_and_a_ready_one_can_be_promoted(admin: Client) -> None:
    version = make_version(state="ready")
    address = f"/admin/inference/mlmodel/{version.model_id}/rollouts/"
    shown = admin.get(address).content.decode()
    assert "none is live" in shown
    assert f"/admin/inference/modelversion/{version.pk}/promote/" in shown
    assert "start_canary" not in shown
    assert "start_shadow" not in shown


def test_a_version_that_has_ended_is_neither_tried_nor_promoted(admin: Client, page: str) -> None:
    make_version(version="4.0.0", state="ready")
    now = clock.now()
    DeprecationSchedule.objects.create(
        kind="model_version", subject="tiny@4.0.0", successor="tiny@2.0.0", reason="So.", guide="Use 2.0.0.",
        announce_at=now - 3 * DAY, deprecate_at=now - 2 * DAY, sunset_at=now - DAY,
    )  # fmt: skip
    forms = admin.get(page).context
    for name in ("canary_form", "shadow_form"):
        assert [value for value, _ in forms[name].fields["version"].choices] == ["3.0.0", "1.0.0"]
    ended, ready = (ModelVersion.objects.get(version=number).pk for number in ("4.0.0", "3.0.0"))
    promotes = "/admin/inference/modelversion/{}/promote/"
    assert promotes.format(ready) in admin.get(f"/admin/inference/modelversion/{ready}/change/").content.decode()
    assert promotes.format(ended) not in admin.get(f"/admin/inference/modelversion/{ended}/change/").content.decode()


def test_the_page_of_nothing(admin: Client) -> None:
    version = make_version(state="staged")
    shown = admin.get(f"/admin/inference/mlmodel/{version.model_id}/rollouts/").content.decode()
    assert "No version is live" in shown
    assert "Stage and verify a version, and promote it." in shown
    assert admin.get("/admin/inference/mlmodel/999999/rollouts/").status_code == 404
    assert not trials.stop(model=version.model, kind="canary")
