"""Pushing a zip over REST: who may, how it is sent, and what is answered."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from pytest_django import Settings

from billing.models import Plan
from inference.models import MLModel, ModelVersion
from inference.registry import versions
from inference.registry.packages import turns
from inference.rest import packages as face
from mlplatform.lib import enqueue
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import api_keys, authentication
from tests.conftest import Customer
from tests.support import packages
from tests.support.every_call import CALLS, FORM, form
from tests.support.models_folder import models_dir, stored
from tests.support.redis_server import RedisServer
from tests.support.rest import Answer, Api, assert_problem
from tests.support.rollouts import heard

__all__ = ["models_dir"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("models_dir")]

PATH = CALLS["push"].path
Commit = Callable[..., AbstractContextManager[list[Callable[[], None]]]]


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Workers that would have been asked."""
    sent: list[str] = []
    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: sent.append(task))
    return sent


def push(api: Api, content: bytes | None = None, *, path: str = PATH, content_type: str = "application/zip") -> Answer:
    body = packages.zipped() if content is None else content
    return api.call("POST", path, content=body, content_type=content_type)


def in_form(api: Api, *parts: tuple[str, str, bytes]) -> Answer:
    return push(api, form(*parts), content_type=FORM)


def folders(models_dir: Path) -> set[str]:
    """The folders of versions whose files are stored."""
    return {path.rpartition("/")[0] for path in stored(models_dir)}


def operator(customer: Customer) -> None:
    """Make the customer the organisation that runs the platform."""
    customer.tenant.operator = True
    customer.tenant.save(update_fields=["operator"])
    authentication.forget_all()


def test_a_tenant_pushes_its_model_and_reads_its_state(acme: Customer) -> None:
    api = Api(acme)
    answer = push(api)
    assert answer.status == 201, answer.content
    assert answer.headers["Location"] == f"{PATH}/1.0.0"
    row = ModelVersion.objects.get()
    assert answer.body == {
        "model": "shapes",
        "version": "1.0.0",
        "state": "staged",
        "load_error": None,
        "task": "tensor-classification",
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "created_at": row.created_at.isoformat().replace("+00:00", "Z"),
        "notices": [],
    }
    assert row.model.owner == acme.tenant
    ModelVersion.objects.update(load_error="the weights do not fit")
    assert api.get(f"{PATH}/1.0.0").body["load_error"] == "the weights do not fit"


def test_an_operator_pushes_a_model_of_the_platform_in_a_form(acme: Customer) -> None:
    operator(acme)
    answer = in_form(Api(acme), ("package", "shapes.zip", packages.zipped()))
    assert answer.status == 201, answer.content
    assert MLModel.objects.get().owner is None


def test_a_large_file_of_a_form_is_never_held_in_memory(acme: Customer, settings: Settings) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10
    assert in_form(Api(acme), ("package", "shapes.zip", packages.zipped())).status == 201


def test_who_may_not(acme: Customer, globex: Customer, models_dir: Path) -> None:
    key = api_keys.issue(tenant=acme.tenant, name="Reader", scopes=["models:read"], created_by=acme.owner)
    assert_problem(push(Api(secret=key.secret)), ErrorKind.FORBIDDEN, "models:write")
    assert_problem(push(Api()), ErrorKind.UNAUTHENTICATED)
    foreign = push(Api(acme), path="/v2/models/globex~shapes/versions")
    assert_problem(foreign, ErrorKind.INVALID_INPUT, "pushed to globex~shapes")
    assert not ModelVersion.objects.exists()
    assert not stored(models_dir)


def test_another_tenant_sees_no_more_than_nothing(acme: Customer, globex: Customer) -> None:
    push(Api(acme))
    there, nowhere = Api(globex).get(f"{PATH}/1.0.0"), Api(globex).get("/v2/models/nothing/versions/1.0.0")
    assert_problem(there, ErrorKind.NOT_FOUND)
    assert json.dumps({**there.body, "request_id": ""}).replace("shapes", "nothing") == json.dumps(
        {**nowhere.body, "request_id": ""}
    )


def test_a_key_for_certain_models_pushes_no_others(acme: Customer) -> None:
    acme.key.allowed_models = ["sentiment"]
    acme.key.save(update_fields=["allowed_models"])
    authentication.forget_all()
    assert_problem(push(Api(acme)), ErrorKind.NOT_FOUND)
    assert not MLModel.objects.exists()


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"no zip", "package"),
        (packages.zipped({"model.toml": b""}), "model.toml: runtime"),
        (packages.zipped(packages.files() | {"model.pt": b"x"}), "model.pt"),
        (packages.zipped(packages.files(packages.CARD.replace('"shapes"', '"forms"', 1))), "model.toml: name"),
        (packages.zipped(packages.files(packages.CARD.replace("licence", "license"))), "model.toml: licence"),
    ],
)
def test_what_is_wrong_is_named(acme: Customer, models_dir: Path, content: bytes, field: str) -> None:
    assert_problem(push(Api(acme), content), ErrorKind.INVALID_INPUT, field=field)
    assert not MLModel.objects.exists()
    assert not stored(models_dir)


def test_bodies_that_are_not_taken(acme: Customer, settings: Settings, asked: list[str]) -> None:
    api = Api(acme)
    assert_problem(push(api, content_type="application/json"), ErrorKind.UNSUPPORTED_MEDIA_TYPE, "application/zip")
    assert_problem(push(api, b""), ErrorKind.MALFORMED)
    assert_problem(push(api, b"--x", content_type="multipart/form-data; boundary=y"), ErrorKind.INVALID_INPUT)
    assert_problem(push(api, b"--x", content_type="multipart/form-data"), ErrorKind.MALFORMED)
    zipped = packages.zipped()
    assert_problem(in_form(api, ("file", "a.zip", zipped)), ErrorKind.INVALID_INPUT, field="package")
    assert_problem(
        in_form(api, ("package", "a.zip", zipped), ("package", "b.zip", zipped)),
        ErrorKind.INVALID_INPUT,
        field="package",
    )
    assert_problem(
        in_form(api, ("package", "a.zip", zipped), ("owner", "", b"globex")), ErrorKind.INVALID_INPUT, field="package"
    )
    settings.MAX_PACKAGE_BYTES = 100
    assert_problem(push(api, b"x" * 101 + b"y" * 65_536), ErrorKind.PAYLOAD_TOO_LARGE)
    assert_problem(push(api), ErrorKind.PAYLOAD_TOO_LARGE)
    assert not MLModel.objects.exists()
    assert not asked


def test_checks_do_not_take_every_thread(acme: Customer) -> None:
    for _ in range(2):
        assert face.permits.acquire(blocking=False)
    try:
        assert_problem(push(Api(acme)), ErrorKind.OVERLOADED)
    finally:
        for _ in range(2):
            face.permits.release()
    assert push(Api(acme)).status == 201


def test_a_tenant_pushes_one_package_after_the_other(acme: Customer, globex: Customer, models_dir: Path) -> None:
    with turns.turn(acme.tenant.pk):
        refused = push(Api(acme))
        assert_problem(refused, ErrorKind.TOO_MANY_ATTEMPTS, "Another package of this tenant is being checked")
        assert refused.headers["Retry-After"] == "5"
        assert not ModelVersion.objects.exists()
        assert not stored(models_dir)
        assert push(Api(globex)).status == 201
    assert push(Api(acme)).status == 201, "of the same name: each has its own"


def test_pushes_are_counted_good_or_bad_but_not_those_of_operators(
    acme: Customer, globex: Customer, models_dir: Path, settings: Settings
) -> None:
    settings.PUSHES_PER_TENANT = "2/h"
    assert_problem(push(Api(acme), b"no zip"), ErrorKind.INVALID_INPUT)
    assert_problem(push(Api(acme), b"no zip"), ErrorKind.INVALID_INPUT)
    refused = push(Api(acme))
    assert_problem(refused, ErrorKind.TOO_MANY_ATTEMPTS, "may push 2 packages per h")
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    assert not MLModel.objects.exists()
    assert not stored(models_dir)
    operator(globex)
    for _ in range(3):
        assert_problem(push(Api(globex), b"no zip"), ErrorKind.INVALID_INPUT)


def test_a_plan_says_how_often_its_tenants_push(
    acme: Customer, globex: Customer, models_dir: Path, settings: Settings
) -> None:
    settings.PUSHES_PER_TENANT = "1/h"
    Plan.objects.filter(pk=acme.plan.pk).update(pushes_per_hour=2)
    for _ in range(2):
        assert_problem(push(Api(acme), b"no zip"), ErrorKind.INVALID_INPUT)
    refused = push(Api(acme))
    assert_problem(
        refused, ErrorKind.TOO_MANY_ATTEMPTS, "may push 2 packages per h; nothing was stored. Please wait, or ask"
    )
    assert not MLModel.objects.exists()
    assert not stored(models_dir)
    assert turns.pushed(acme.tenant.pk, rate="2/h") == 3
    assert turns.pushed(globex.tenant.pk, rate="1/h") == 0


def test_without_redis_no_tenant_has_a_turn(state_redis: RedisServer) -> None:
    state_redis.stop()
    with pytest.raises(PlatformError, match="Packages cannot be taken") as caught, turns.turn(1):
        pytest.fail("no turn can be counted")
    assert caught.value.kind is ErrorKind.UNAVAILABLE


def test_an_owner_retires_its_version_and_never_the_live_one(acme: Customer) -> None:
    api = Api(acme)
    push(api)
    push(api, packages.zipped(packages.files(packages.CARD.replace("1.0.0", "1.1.0"))))
    first = ModelVersion.objects.get(version="1.0.0")
    versions.mark_verified(version_id=first.pk, error="")
    versions.promote(version=first)
    live = api.post(f"{PATH}/1.0.0/retire", {})
    assert_problem(live, ErrorKind.CONFLICT, "shapes@1.0.0 is live; promote another version first.")
    by_header = api.call(
        "POST", "/models/shapes/versions/1.1.0/retire", content=b"{}", content_type="application/json",
        headers={"API-Version": "v2"},
    )  # fmt: skip
    assert (by_header.status, by_header.body["state"], by_header.body["version"]) == (200, "retired", "1.1.0")
    assert api.post(f"{PATH}/1.1.0/retire", {}).body == by_header.body, "a repeat changes nothing"
    assert dict(ModelVersion.objects.values_list("version", "state")) == {"1.0.0": "live", "1.1.0": "retired"}
    assert heard(acme.tenant).count("retired 1.1.0") == 1
    assert_problem(api.post(f"{PATH}/9.9.9/retire", {}), ErrorKind.NOT_FOUND, field="version")


def test_a_tenant_whose_versions_are_at_the_limit_retires_one_and_pushes_again(
    acme: Customer, settings: Settings, models_dir: Path, django_capture_on_commit_callbacks: Commit
) -> None:
    settings.MAX_PRIVATE_VERSIONS = 1
    push(Api(acme))
    newer = packages.zipped(packages.files(packages.CARD.replace("1.0.0", "1.1.0")))
    assert_problem(push(Api(acme), newer), ErrorKind.CONFLICT, "retire some first")
    with django_capture_on_commit_callbacks(execute=True):
        assert Api(acme).post(f"{PATH}/1.0.0/retire", {}).status == 200
    assert push(Api(acme), newer).status == 201
    (kept,) = ModelVersion.objects.exclude(state="retired")
    assert folders(models_dir) == {kept.artefact_path}, "the files of a retired version take no room"


def test_files_that_another_version_has_stay_and_so_do_those_that_staff_named(
    acme: Customer, models_dir: Path, django_capture_on_commit_callbacks: Commit
) -> None:
    push(Api(acme))
    pushed = ModelVersion.objects.get()
    twin = ModelVersion.objects.get()
    twin.pk, twin.version = None, "1.0.1"
    twin.save(force_insert=True)
    for version in (pushed, twin):
        with django_capture_on_commit_callbacks(execute=True):
            versions.retire(version=version)
    assert folders(models_dir) == {pushed.artefact_path}, (
        "first the other had them, then the path was not that of a push"
    )


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "/models/%00/rollouts", "model"),
        ("POST", "/models/%00/versions", "model"),
        ("GET", "/models/shapes/versions/%00", "version"),
        ("POST", "/models/shapes/versions/%00/retire", "version"),
    ],
)
def test_a_name_that_postgresql_cannot_be_asked_for_is_not_found(
    acme: Customer, method: str, path: str, field: str
) -> None:
    MLModel.objects.create(name="shapes", owner=acme.tenant)
    answer = Api(acme).call(method, path, content=b"{}", content_type="application/json")
    assert_problem(answer, ErrorKind.NOT_FOUND, field=field)
