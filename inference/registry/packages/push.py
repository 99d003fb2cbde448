"""Pushing a model: its package is checked, stored, registered as a staged version, and a worker is asked to try it."""

import math
import shutil
from pathlib import Path
from typing import BinaryIO, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from inference.models import MLModel, ModelVersion
from inference.registry import names, versions
from inference.registry.packages import checking, room, storage
from inference.registry.packages.archives import ARCHIVE
from inference.registry.packages.card import Card
from inference.registry.packages.checking import Checked
from inference.registry.packages.limits import Limits
from inference.registry.packages.problems import PackageError
from inference.types import DEFAULT_POOL
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants.models import Tenant, User

_CHUNK: Final = 1024 * 1024
MAX_PRIVATE_BATCH_VALUES: Final = 16_000_000
"""Numbers in a batch of a tenant's own model: 64 MB before the network makes anything of them."""


def push(
    *,
    source: Path | BinaryIO,
    owner: Tenant | None,
    by: User | None,
    operator: bool,
    name: str = "",
) -> ModelVersion:
    """Stage the package ``source``, a folder or a zip, as a new version; a worker then loads it and runs its examples.

    The model is one of ``owner``, in whose namespace its name lives, or on sale to all where that is None; ``operator`` speaks
    for the whole platform. ``name`` is the model that the caller expects. Raises INVALID_INPUT that names the file or field of
    the package, PAYLOAD_TOO_LARGE, FORBIDDEN, CONFLICT for a version that is there, and UNAVAILABLE. Nothing is left behind then.
    """
    if owner is None and not operator:
        raise PlatformError(ErrorKind.FORBIDDEN, "Only an operator pushes models that belong to no tenant.")
    # The zip, its files, and a copy of them on their way into the storage.
    room.require_disk(more_bytes=0 if isinstance(source, Path) else settings.MAX_PACKAGE_BYTES)
    try:
        with storage.incoming() as place:
            checked = checking.check(
                source=_as_file(source, place),
                target=_empty(place / "files"),
                limits=Limits(settings.MAX_MODEL_BYTES),
                trusted=operator,
            )
            card = checked.card
            _require_fits(card, owner=owner, operator=operator, name=name, size_bytes=checked.size_bytes)
            room.require_disk(more_bytes=checked.size_bytes)
            path = storage.path_of(model=_qualified(card, owner), version=card.version, digest=checked.digest)
            storage.put(place / "files", path=path, digest=checked.digest)
    except PackageError as error:
        raise invalid(error.place, error.reason) from error
    try:
        version = _register(checked, path, owner=owner, operator=operator)
    except Exception:
        if not ModelVersion.objects.filter(artefact_path=path).exists():
            storage.remove(path)
        raise
    versions.request_verification(version=version)
    return version


def _as_file(source: Path | BinaryIO, place: Path) -> Path:
    """The package as a path that another process can open; a stream is written down, up to what is accepted."""
    if isinstance(source, Path):
        if not source.exists():
            raise PackageError(ARCHIVE, f"There is no file or folder {source}.")
        return source
    target = place / "package.zip"
    limit, written = settings.MAX_PACKAGE_BYTES, 0
    with target.open("xb") as sink:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > limit:
                raise too_large()
            sink.write(chunk)
    return target


def too_large() -> PlatformError:
    """The one answer for a zip beyond the limit."""
    return PlatformError(
        ErrorKind.PAYLOAD_TOO_LARGE,
        f"The package is larger than {settings.MAX_PACKAGE_BYTES:,} bytes; staff can push a larger one as a folder.",
    )


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _require_fits(card: Card, *, owner: Tenant | None, operator: bool, name: str, size_bytes: int) -> None:
    if name and card.name != name:
        raise PackageError("model.toml: name", f"The card names {card.name}, but it was pushed to {name}.")
    if not operator:
        _require_modest(card)
    model = names.model(_qualified(card, owner))
    if model is not None:
        _require_new(model, card)
    if owner is not None and not operator:
        room.require_quota(owner, size_bytes=size_bytes)


def _require_modest(card: Card) -> None:
    """What tenants push runs on workers that others use too. Raises PackageError for what would take too much of them."""
    serving = card.serving
    if serving.pool != DEFAULT_POOL:
        raise PackageError("model.toml: serving.pool", "The platform's staff choose the pool; leave it out.")
    if serving.acceleration != "none":
        raise PackageError(
            "model.toml: serving.acceleration",
            "Compiling takes minutes of a shared worker; only staff push such versions.",
        )
    schema = card.input_schema
    shape = schema.get("shape") or [schema.get(name, 1) for name in ("height", "width", "channels")]
    values = math.prod(shape) * serving.max_batch_size
    if values > MAX_PRIVATE_BATCH_VALUES:
        raise PackageError(
            "model.toml: serving.max_batch_size",
            f"A batch would have {values:,} numbers; a tenant's model takes at most {MAX_PRIVATE_BATCH_VALUES:,}. "
            "Lower max_batch_size or the input's size.",
        )


def _qualified(card: Card, owner: Tenant | None) -> str:
    return names.qualified(card.name, namespace=owner.slug if owner is not None else "")


def notices(version: ModelVersion) -> list[str]:
    """What to tell of the name of a pushed model, where a model on sale and a tenant's have the same one."""
    model = version.model
    if model.owner is None:
        told = namesakes_told(model.name)
        return [told] if told else []
    if not MLModel.objects.filter(name=model.name, owner__isnull=True).exists():
        return []
    return [
        f"There is a model on sale called {model.name}, too. Calls that name {model.name} go to yours as soon as a version of it "
        f"is live, and calls that pin {model.name}@{version.version} as soon as it is ready."
    ]


def namesakes_told(name: str) -> str:
    """What staff must know of a name on sale that tenants' models have, too; empty where none has it."""
    own = names.namesakes(name)
    if not own:
        return ""
    whose = "1 tenant has a model" if len(own) == 1 else f"{len(own)} tenants have models"
    return f"{whose} of this name, which goes on answering its own calls: {', '.join(own)}."


def _require_new(model: MLModel, card: Card) -> None:
    if ModelVersion.objects.filter(model=model, version=card.version).exists():
        raise PlatformError(
            ErrorKind.CONFLICT,
            f"{card.reference} is there already, and a version never changes; raise the version in model.toml.",
        )


@transaction.atomic
def _register(checked: Checked, path: str, *, owner: Tenant | None, operator: bool) -> ModelVersion:
    """The rows of a checked and stored package. What could change since the first look is looked at again."""
    card = checked.card
    if owner is not None and not operator:
        # Two pushes at once count one after the other. Not a full lock: events of a promotion, which holds the model that is
        # locked next, refer to the tenant and would wait for it in turn.
        Tenant.objects.select_for_update(no_key=True).get(pk=owner.pk)
        room.require_quota(owner, size_bytes=checked.size_bytes)
    model = names.model(_qualified(card, owner))
    try:
        if model is None:
            model = MLModel(
                name=card.name,
                title=card.title,
                description=card.description,
                pool=_pool(card, owner=owner),
                owner=owner,
            )
            model.full_clean()
            with transaction.atomic():
                model.save()
        model = MLModel.objects.select_for_update().get(pk=model.pk)
        _require_new(model, card)
        return _stage(checked, model, path)
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise invalid(f"model.toml: {field}", " ".join(messages)) from error
    except IntegrityError as error:
        raise PlatformError(ErrorKind.CONFLICT, f"{card.reference} was just pushed by another call.") from error


def _stage(checked: Checked, model: MLModel, path: str) -> ModelVersion:
    card = checked.card
    return versions.stage(
        model=model,
        version=card.version,
        artefact_path=path,
        sha256=checked.digest,
        size_bytes=checked.size_bytes,
        runtime=card.runtime,
        input_schema=dict(card.input_schema),
        output_schema=dict(card.output_schema),
        labels=list(card.labels),
        max_batch_size=card.serving.max_batch_size,
        max_batch_tokens=card.serving.max_batch_tokens,
        max_queue_delay_ms=card.serving.max_queue_delay_ms,
        precision=card.serving.precision,
        acceleration=card.serving.acceleration,
        device=card.serving.device,
        accuracy=card.accuracy,
        accuracy_note=card.accuracy_note,
        speed_note=card.speed_note,
        licence=card.licence,
        card=dict(card.values),
    )


def _pool(card: Card, *, owner: Tenant | None) -> str:
    """Of a tenant's model the pool for those, unless staff's card names one of its own."""
    pool: str = card.serving.pool
    if owner is not None and pool == DEFAULT_POOL:
        pool = settings.PRIVATE_MODELS_POOL
    return pool
