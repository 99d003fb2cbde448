"""Artefacts in a bucket: put, fetched once, compared, and no more of them kept than there is room for.

The bucket is moto's server, spoken to over HTTP by the same client as any other S3 server.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pytest_django import Settings

from inference.models import ModelVersion
from inference.registry import artefacts
from inference.registry.packages import push, storage
from mlplatform.lib import enqueue, storage_url
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.support import packages


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server."""
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A fresh bucket, which the product is told to use."""
    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: None)
    resource = boto3.resource(
        "s3", endpoint_url=server, aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1"
    )
    made = resource.Bucket(tmp_path.name.replace("_", "-")[:60].lower())
    made.create()
    url = f"s3://key:secret@unused.example/{made.name}/models?endpoint={server}&region=us-east-1"
    settings.STORAGES = {**settings.STORAGES, "models": storage_url.parse(url)}
    settings.MODELS_CACHE_DIR = tmp_path / "cache"
    yield made
    made.objects.all().delete()
    made.delete()


def pushed(version: str = "1.0.0", filler: bytes = b"") -> ModelVersion:
    content = packages.files(packages.CARD.replace("1.0.0", version))
    if filler:
        content["notes.txt"] = filler
    return push.push(source=io.BytesIO(packages.zipped(content)), owner=None, by=None, operator=True)


@pytest.mark.django_db
def test_a_version_goes_to_the_bucket_and_comes_back_once(
    bucket: "boto3.resources.base.ServiceResource", tmp_path: Path
) -> None:
    version = pushed()
    keys = {entry.key for entry in bucket.objects.all()}
    assert keys == {f"models/{version.artefact_path}/{name}" for name in packages.files()}
    folder = storage.local_folder(version)
    assert folder == tmp_path / "cache" / version.sha256
    artefacts.verify(folder, expected=version.sha256)
    bucket.objects.all().delete()
    assert storage.local_folder(version) == folder
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.name != ".incoming"] == [version.sha256]
    assert not list((tmp_path / "cache" / ".incoming").iterdir())


@pytest.mark.django_db
def test_what_was_changed_in_the_bucket_never_reaches_a_worker(
    bucket: "boto3.resources.base.ServiceResource", tmp_path: Path
) -> None:
    version = pushed()
    bucket.Object(f"models/{version.artefact_path}/network.safetensors").put(Body=b"other weights")
    with pytest.raises(artefacts.ArtefactError, match="was registered"):
        storage.local_folder(version)
    assert not (tmp_path / "cache" / version.sha256).exists()


@pytest.mark.django_db
def test_what_was_changed_on_this_machine_is_fetched_again(
    bucket: "boto3.resources.base.ServiceResource", tmp_path: Path
) -> None:
    version = pushed()
    (storage.local_folder(version) / "network.safetensors").write_bytes(b"other weights")
    artefacts.verify(storage.local_folder(version), expected=version.sha256)


@pytest.mark.django_db
def test_a_bucket_that_is_away_is_no_broken_model(
    bucket: "boto3.resources.base.ServiceResource", settings: Settings
) -> None:
    version = pushed()
    away = storage_url.parse("s3://key:secret@unused.example/nothing?endpoint=http://127.0.0.1:9&region=us-east-1")
    settings.STORAGES = {**settings.STORAGES, "models": away}
    for act in (lambda: storage.local_folder(version), lambda: pushed("1.1.0")):
        with pytest.raises(PlatformError) as failed:
            act()
        assert failed.value.kind is ErrorKind.UNAVAILABLE
    assert not ModelVersion.objects.filter(version="1.1.0").exists()


@pytest.mark.django_db
def test_what_was_used_longest_ago_makes_room(
    bucket: "boto3.resources.base.ServiceResource", tmp_path: Path, settings: Settings
) -> None:
    versions = [pushed(f"1.{minor}.0", bytes([65 + minor]) * 10_000) for minor in range(3)]
    settings.MODELS_CACHE_BYTES = 25_000
    folders = [storage.local_folder(version) for version in versions]
    assert [folder.exists() for folder in folders] == [False, True, True]
    settings.MODELS_CACHE_BYTES = 100
    assert storage.local_folder(versions[0]).exists(), "what is needed now stays, however small the room"
