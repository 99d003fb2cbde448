"""Where the files of model versions lie: a folder, or any other of Django's storages, fetched once by each machine.

A version's ``artefact_path`` is a folder in ``STORAGES["models"]``. Where that is a folder of this machine it is used as it
lies; else :func:`local_folder` fetches it below ``MODELS_CACHE_DIR`` under its digest, which is compared before it is
read, so that neither the storage nor the way to it has to be trusted.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.files import File
from django.core.files.storage import FileSystemStorage, Storage, storages

from inference.models import ModelVersion
from inference.registry import artefacts
from inference.registry.packages.limits import MAX_FILES
from mlplatform.lib.errors import PlatformError, invalid, unavailable

_INCOMING: Final = ".incoming"
_STALE_S: Final = 24 * 3600
_CHUNK: Final = 1024 * 1024


def local_folder(version: ModelVersion) -> Path:
    """The folder with the version's files on this machine.

    Raises INVALID_INPUT for a path that leaves the storage, ArtefactError where what was fetched is not what was
    registered, and UNAVAILABLE where the storage does not answer. A folder of this machine is not compared here, but when a
    worker loads it.
    """
    storage = _storage()
    if isinstance(storage, FileSystemStorage):
        return _below(Path(storage.location), version.artefact_path)
    folder = Path(settings.MODELS_CACHE_DIR) / version.sha256
    if _intact(folder, version.sha256):
        os.utime(folder)
        return folder
    _fetch(storage, version.artefact_path, folder, version.sha256)
    _make_room(keep=folder)
    return folder


def folder_of_incoming() -> Path:
    """Where packages are checked, on the file system on which their files stay unless the storage is a bucket."""
    storage = _storage()
    root = Path(storage.location if isinstance(storage, FileSystemStorage) else settings.MODELS_CACHE_DIR) / _INCOMING
    root.mkdir(parents=True, exist_ok=True)
    return root


@contextlib.contextmanager
def incoming() -> Iterator[Path]:
    """An empty folder for a package that is being checked, on the file system where it may stay; gone afterwards."""
    root = folder_of_incoming()
    _sweep(root)
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def path_of(*, model: str, version: str, digest: str) -> str:
    """Where the files of a pushed version lie; the digest keeps a failed push apart from the next one of the same version."""
    return f"{model}/{version}-{digest[:16]}"


def put(folder: Path, *, path: str, digest: str) -> None:
    """Store the files of ``folder`` under ``path``; a folder with this digest that is there already stays as it is.

    Raises UNAVAILABLE where the storage does not take them.
    """
    storage = _storage()
    try:
        if isinstance(storage, FileSystemStorage):
            target = _below(Path(storage.location), path)
            if not _intact(target, digest):
                _move(folder, target)
            return
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                with file.open("rb") as stream:
                    storage.save(f"{path}/{file.relative_to(folder).as_posix()}", File(stream))
    except PlatformError:
        raise
    except Exception as error:
        raise unavailable(f"The models' storage does not take the files: {type(error).__name__}.") from error


def remove(path: str) -> None:
    """Forget what was stored under ``path``; what is not there is no error."""
    storage = _storage()
    if isinstance(storage, FileSystemStorage):
        shutil.rmtree(_below(Path(storage.location), path), ignore_errors=True)
        return
    for name in list(_names(storage, path)):
        storage.delete(f"{path}/{name}")


def _storage() -> Storage:
    return storages["models"]


def _below(root: Path, path: str) -> Path:
    root = root.resolve()
    folder = (root / path).resolve()
    if root not in folder.parents:
        raise invalid("artefact_path", "The path must lie below the models folder.")
    return folder


def _move(folder: Path, target: Path) -> None:
    """Let the files appear under their path in one step, with rights for workers of another user."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    for file in folder.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)


def _intact(folder: Path, digest: str) -> bool:
    try:
        artefacts.verify(folder, expected=digest)
    except artefacts.ArtefactError:
        return False
    return True


def _fetch(storage: Storage, path: str, folder: Path, digest: str) -> None:
    with incoming() as fetched:
        try:
            for name in _names(storage, path):
                target = _below(fetched, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                with storage.open(f"{path}/{name}") as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink, _CHUNK)
        except PlatformError:
            raise
        except Exception as error:
            raise unavailable(f"The models' storage does not give {path}: {type(error).__name__}.") from error
        artefacts.verify(fetched, expected=digest)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        fetched.chmod(0o755)
        # Another worker of this machine may have been quicker: its folder is equal.
        with contextlib.suppress(FileExistsError, OSError):
            fetched.rename(folder)
        artefacts.verify(folder, expected=digest)


def _names(storage: Storage, path: str) -> Iterator[str]:
    """The files below ``path`` in the storage, relative to it; not more than a package can have."""
    pending, count = [""], 0
    while pending:
        inner = pending.pop()
        folders, files = storage.listdir(f"{path}/{inner}".rstrip("/"))
        pending += [f"{inner}{folder}/" for folder in folders if folder]
        for file in files:
            count += 1
            if count > MAX_FILES:
                raise invalid("artefact_path", f"There are more than {MAX_FILES} files below {path}.")
            if file:
                yield f"{inner}{file}"


def _make_room(*, keep: Path) -> None:
    """Drop what was used longest ago until the rest fits; what a worker has in memory it does not need on disk."""
    folders = sorted(
        (folder for folder in keep.parent.iterdir() if folder.name != _INCOMING),
        key=lambda folder: folder.stat().st_mtime,
        reverse=True,
    )
    room = settings.MODELS_CACHE_BYTES
    for folder in folders:
        room -= sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if room < 0 and folder != keep:
            shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what a killed process left behind a day ago."""
    for folder in root.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _STALE_S:
                shutil.rmtree(folder, ignore_errors=True)
