"""Who may push what, and that a refusal leaves nothing behind."""

import io
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from billing.models import Plan
from inference.models import MLModel, ModelVersion
from inference.registry import artefacts, versions
from inference.registry.packages import push, storage
from inference.types import DEFAULT_POOL
from inference.worker.model_loader import standing_by, wanted
from mlplatform.lib import enqueue
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.conftest import Customer
from tests.support import packages
from tests.support.models_folder import models_dir, stored

__all__ = ["models_dir"]


pytestmark = pytest.mark.usefixtures("models_dir")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, Any]]]:
    """The tasks that would have been sent."""
    sent: list[tuple[str, str, dict[str, Any]]] = []
    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: sent.append((task, queue, kwargs)))
    return sent


def changed(**fields: str) -> dict[str, bytes]:
    """The package with other texts in its card."""
    card = packages.CARD
    for name, value in fields.items():
        line = next(line for line in card.splitlines() if line.startswith(f"{name} = "))
        card = card.replace(line, f'{name} = "{value}"', 1)
    return packages.files(card)


def as_operator(source: Path | io.BytesIO, **more: Any) -> ModelVersion:
    return push.push(**{"source": source, "owner": None, "by": None, "operator": True, **more})


def as_tenant(customer: Customer, content: dict[str, bytes] | None = None, **more: Any) -> ModelVersion:
    source = io.BytesIO(packages.zipped(content))
    return push.push(source=source, owner=customer.tenant, by=None, operator=False, **more)


@pytest.mark.django_db(transaction=True)
def test_an_operator_pushes_a_folder(
    models_dir: Path, tmp_path: Path, asked: list[tuple[str, str, dict[str, Any]]]
) -> None:
    card = packages.CARD.replace("[serving]", '[serving]\npool = "cpu"')
    version = as_operator(packages.folder(tmp_path / "folder", packages.files(card)))
    version.refresh_from_db()
    assert (str(version), version.state, version.runtime) == ("shapes@1.0.0", "staged", "tensor-classification")
    assert (version.model.title, version.model.pool, version.model.owner) == ("Shapes", "cpu", None)
    assert (version.licence, version.accuracy, version.max_batch_size) == ("MIT", 0.9, 16)
    assert version.card["examples"] == [{"input": [[0, 0], [1, 1]], "output": [0.25, 0.75]}]
    folder = storage.local_folder(version)
    artefacts.verify(folder, expected=version.sha256)
    assert folder.parent == models_dir / "shapes"
    assert version.size_bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert asked == [("inference.verify_version", "cpu", {"version_id": version.pk})]
    assert not list((models_dir / ".incoming").iterdir())


@pytest.mark.django_db(transaction=True)
def test_a_tenant_pushes_a_private_model_and_its_next_version(
    acme: Customer, asked: list[tuple[str, str, dict[str, Any]]]
) -> None:
    first = as_tenant(acme)
    second = as_tenant(acme, changed(version="1.1.0"))
    assert first.model == second.model
    assert first.model.owner == acme.tenant
    assert len(asked) == 2


@pytest.mark.django_db
def test_a_name_that_others_have_is_free_in_a_tenants_own_namespace(
    acme: Customer, globex: Customer, models_dir: Path
) -> None:
    MLModel.objects.create(name="shapes", owner=None)
    theirs, own = as_tenant(globex), as_tenant(acme)
    assert [str(version) for version in (theirs, own)] == ["globex/shapes@1.0.0", "acme/shapes@1.0.0"]
    by_staff = push.push(
        source=io.BytesIO(packages.zipped(changed(version="1.1.0"))), owner=acme.tenant, by=None, operator=True
    )
    assert by_staff.model == own.model
    assert len({version.artefact_path for version in (theirs, own, by_staff)}) == 3
    for version in (theirs, own, by_staff):
        artefacts.verify(storage.local_folder(version), expected=version.sha256)


@pytest.mark.django_db
def test_who_pushes_is_told_of_namesakes(acme: Customer, globex: Customer) -> None:
    alone = as_tenant(acme)
    assert push.notices(alone) == []
    as_tenant(globex)
    assert push.notices(alone) == [], "of other tenants' models nothing is told"
    shared = as_operator(io.BytesIO(packages.zipped()))
    (told,) = push.notices(shared)
    assert "acme/shapes, globex/shapes" in told
    (warned,) = push.notices(alone)
    assert "go to yours as soon as a version of it is live" in warned
    assert "globex" not in warned


@pytest.mark.django_db
def test_the_card_names_what_the_address_names(acme: Customer) -> None:
    with pytest.raises(PlatformError) as refused:
        as_tenant(acme, name="other")
    assert refused.value.field == "model.toml: name"
    assert not MLModel.objects.exists()


@pytest.mark.django_db
def test_a_version_never_changes(acme: Customer, models_dir: Path) -> None:
    version = as_tenant(acme)
    before = stored(models_dir)
    for content in (None, packages.files(notes__txt=b"more")):
        with pytest.raises(PlatformError) as refused:
            as_tenant(acme, content)
        assert refused.value.kind is ErrorKind.CONFLICT
    assert stored(models_dir) == before
    artefacts.verify(storage.local_folder(version), expected=version.sha256)


@pytest.mark.django_db
def test_what_is_wrong_with_the_package_names_its_place_and_leaves_nothing(acme: Customer, models_dir: Path) -> None:
    with pytest.raises(PlatformError) as refused:
        as_tenant(acme, packages.files() | {"model.pt": b"x"})
    assert (refused.value.kind, refused.value.field) == (ErrorKind.INVALID_INPUT, "model.pt")
    with pytest.raises(PlatformError) as refused:
        as_tenant(acme, packages.files(packages.CARD.replace("[serving]", '[serving]\npool = "mine"')))
    assert refused.value.field == "model.toml: serving.pool"
    assert not stored(models_dir)
    assert not MLModel.objects.exists()


@pytest.mark.django_db
def test_a_zip_that_is_too_large_is_not_written_to_its_end(
    acme: Customer, settings: Settings, models_dir: Path
) -> None:
    settings.MAX_PACKAGE_BYTES = 100
    with pytest.raises(PlatformError) as refused:
        as_tenant(acme)
    assert refused.value.kind is ErrorKind.PAYLOAD_TOO_LARGE
    assert not stored(models_dir)


@pytest.mark.django_db
def test_a_tenant_has_so_many_versions_and_no_more(acme: Customer, settings: Settings, models_dir: Path) -> None:
    settings.MAX_PRIVATE_VERSIONS = 1
    version = as_tenant(acme)
    before = stored(models_dir)
    with pytest.raises(PlatformError) as refused:
        as_tenant(acme, changed(version="1.1.0"))
    assert refused.value.kind is ErrorKind.CONFLICT
    assert stored(models_dir) == before
    ModelVersion.objects.filter(pk=version.pk).update(state="retired")
    assert as_tenant(acme, changed(version="1.1.0")).version == "1.1.0"


@pytest.mark.django_db
@pytest.mark.parametrize("of_the_plan", [True, False])
def test_a_tenant_has_so_many_bytes_and_no_more(
    acme: Customer, settings: Settings, models_dir: Path, of_the_plan: bool
) -> None:
    first = as_tenant(acme)
    if of_the_plan:
        Plan.objects.filter(pk=acme.plan.pk).update(model_bytes=first.size_bytes + 1)
    else:
        settings.MAX_PRIVATE_BYTES = first.size_bytes + 1
    before = stored(models_dir)
    with pytest.raises(PlatformError, match="Retire some first, or ask for a larger plan") as refused:
        as_tenant(acme, changed(version="1.1.0"))
    assert refused.value.kind is ErrorKind.CONFLICT
    assert stored(models_dir) == before
    assert ModelVersion.objects.count() == 1
    ModelVersion.objects.filter(pk=first.pk).update(state="retired")
    assert as_tenant(acme, changed(version="1.1.0")).version == "1.1.0"


@pytest.mark.django_db
def test_a_plan_says_how_many_versions(acme: Customer) -> None:
    Plan.objects.filter(pk=acme.plan.pk).update(model_versions=0)
    with pytest.raises(PlatformError, match="0 are its limit"):
        as_tenant(acme)
    assert not ModelVersion.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("of_the_plan", [True, False])
def test_a_model_that_needs_more_memory_than_all_of_its_owner_may_take_is_not_stored(
    acme: Customer, settings: Settings, models_dir: Path, of_the_plan: bool
) -> None:
    settings.PRIVATE_MODEL_MEMORY_MB = 100
    if of_the_plan:
        Plan.objects.filter(pk=acme.plan.pk).update(model_memory_mb=100)
    else:
        settings.MAX_PRIVATE_MEMORY_MB = 100
    with pytest.raises(PlatformError, match=r"together 100\.0 MB in a worker\. Push a smaller model") as refused:
        as_tenant(acme)
    assert refused.value.kind is ErrorKind.CONFLICT
    assert not stored(models_dir)
    assert not MLModel.objects.exists()
    if of_the_plan:
        Plan.objects.filter(pk=acme.plan.pk).update(model_memory_mb=101)
    else:
        settings.MAX_PRIVATE_MEMORY_MB = 101
    assert as_tenant(acme).version == "1.0.0"


@pytest.mark.django_db
def test_workers_of_the_models_on_sale_prepare_no_model_of_a_tenant(acme: Customer, settings: Settings) -> None:
    """So however huge it is, those stay loaded."""
    version = as_tenant(acme)
    versions.mark_verified(version_id=version.pk, error="")
    versions.promote(version=version)
    versions.forget()
    assert [ref.qualified_reference for ref in standing_by([settings.PRIVATE_MODELS_POOL])] == ["acme/shapes@1.0.0"]
    assert wanted([settings.PRIVATE_MODELS_POOL]) == [], (
        "it is in memory where there is room, and loaded when it is called"
    )
    assert wanted([DEFAULT_POOL]) == standing_by([DEFAULT_POOL]) == []


@pytest.mark.django_db
def test_a_disk_that_would_be_full_takes_no_package(
    acme: Customer, settings: Settings, models_dir: Path, tmp_path: Path
) -> None:
    settings.MIN_FREE_DISK_BYTES = 1 << 60
    folder = packages.folder(tmp_path / "folder")
    for push_it in (partial(as_tenant, acme), partial(as_operator, folder)):
        with pytest.raises(PlatformError, match="no room for another package") as refused:
            push_it()
        assert refused.value.kind is ErrorKind.UNAVAILABLE
        assert refused.value.retry_after_s == 600.0
    assert not stored(models_dir)
    assert not MLModel.objects.exists()


@pytest.mark.django_db
def test_files_are_removed_when_the_rows_cannot_be_written(
    acme: Customer, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the database went away")

    monkeypatch.setattr(versions, "stage", fail)
    with pytest.raises(RuntimeError):
        as_tenant(acme)
    assert not stored(models_dir)
    assert not MLModel.objects.exists()


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ('acceleration = "compile"', "serving.acceleration"),
        ('pool = "large"', "serving.pool"),
        ("max_batch_size = 16", "serving.max_batch_size"),
    ],
)
@pytest.mark.django_db
def test_a_tenants_model_takes_no_more_than_its_share_of_shared_workers(
    acme: Customer, models_dir: Path, monkeypatch: pytest.MonkeyPatch, line: str, place: str
) -> None:
    monkeypatch.setattr(push, "MAX_PRIVATE_BATCH_VALUES", 63 if "max_batch_size" in line else 1000)
    card = packages.CARD.replace("max_batch_size = 16", line)
    with pytest.raises(PlatformError) as caught:
        as_tenant(acme, packages.files(card))
    assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID_INPUT, f"model.toml: {place}")
    assert (stored(models_dir), ModelVersion.objects.count()) == (set(), 0)


@pytest.mark.django_db(transaction=True)
def test_models_of_tenants_run_in_the_pool_that_staff_chose_for_them(
    acme: Customer, settings: Settings, asked: list[tuple[str, str, dict[str, Any]]]
) -> None:
    settings.PRIVATE_MODELS_POOL = "private"
    assert as_tenant(acme).model.pool == "private"
    assert [queue for _, queue, _ in asked] == ["private"]
