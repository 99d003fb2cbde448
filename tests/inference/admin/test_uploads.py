"""Staff push a zip in the admin."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from kombu.exceptions import OperationalError

from inference.models import ModelVersion
from mlplatform.lib import enqueue
from tests.conftest import Customer
from tests.support import packages, staff
from tests.support.models_folder import models_dir, stored

__all__ = ["models_dir"]

PAGE = "/admin/inference/modelversion/upload/"

pytestmark = pytest.mark.usefixtures("models_dir")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks that would have been sent."""
    tasks: list[str] = []
    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: tasks.append(task))
    return tasks


def form(content: bytes | None = None, owner: str = "") -> dict[str, object]:
    zipped = packages.zipped() if content is None else content
    return {"package": SimpleUploadedFile("shapes.zip", zipped, "application/zip"), "owner": owner}


@pytest.mark.django_db(transaction=True)
def test_a_zip_becomes_a_staged_version(acme: Customer, sent: list[str]) -> None:
    admin = staff.signed_in(staff.superuser())
    assert 'enctype="multipart/form-data"' in admin.get(PAGE).content.decode()
    assert PAGE in admin.get("/admin/inference/modelversion/").content.decode()
    answer = admin.post(PAGE, form(owner=str(acme.tenant.pk)), follow=True)
    assert staff.said(answer) == ["acme/shapes@1.0.0 is staged; a worker loads it and runs its examples."]
    version = ModelVersion.objects.get()
    assert (version.state, version.licence, version.model.owner) == ("staged", "MIT", acme.tenant)
    assert sent == ["inference.verify_version"]


@pytest.mark.django_db
def test_what_is_wrong_stands_at_the_field(models_dir: Path, sent: list[str]) -> None:
    admin = staff.signed_in(staff.superuser())
    for content, words in ((b"no zip", "no zip"), (packages.zipped({"run.py": b"x"}), "run.py")):
        answer = admin.post(PAGE, form(content))
        assert answer.status_code == 200
        assert words in str(answer.context["form"].errors["package"])
    assert admin.post(PAGE, {}).context["form"].errors["package"]
    assert not ModelVersion.objects.exists()
    assert not stored(models_dir)
    assert not sent


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_it_is_staged_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(task: str, queue: str, kwargs: dict[str, object]) -> None:
        raise OperationalError("Connection refused")

    monkeypatch.setattr(enqueue, "send", refuse)
    answer = staff.signed_in(staff.superuser()).post(PAGE, form(), follow=True)
    assert "the broker does not answer" in staff.said(answer)[0]
    assert ModelVersion.objects.get().state == "staged"


@pytest.mark.parametrize("who", [lambda: staff.signed_in(staff.with_role("support")), Client])
@pytest.mark.django_db
def test_who_may_not(who: Callable[[], Client], models_dir: Path) -> None:
    assert who().post(PAGE, form()).status_code in {302, 403}
    assert not ModelVersion.objects.exists()
    assert not stored(models_dir)
