"""Model versions through their states, and the snapshot of them from which calls are resolved.

``staged`` → (a worker loads and warms it) → ``ready`` → ``live`` → ``ready`` again when another is promoted, or
``retired``. One version of a model is live; ready ones answer callers that pin them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from inference import artefacts
from inference.models import MLModel, ModelVersion, VersionState
from inference.types import ModelRef
from mlplatform.lib import clock
from mlplatform.lib.enqueue import enqueue
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from mlplatform.lib.snapshot import Snapshot
from tenants.models import DeprecationSchedule, SubjectKind

ANSWERING = (VersionState.READY, VersionState.LIVE)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every version that answers, by ``name`` (the live one) and by ``name@version``."""

    by_reference: Mapping[str, ModelRef]


def reference(version: ModelVersion) -> ModelRef:
    """The frozen form of a row; its model must be loaded with it."""
    dimensions = int(version.output_schema.get("dimensions", 0))
    return ModelRef(
        version_id=version.pk,
        name=version.model.name,
        version=version.version,
        runtime=version.runtime,
        digest=version.sha256,
        outputs=dimensions or len(version.labels),
        labels=tuple(version.labels),
        input_schema=version.input_schema,
        output_schema=version.output_schema,
        max_batch_size=version.max_batch_size,
        cache_ttl_s=version.model.cache_ttl_s,
        shared_cache=version.model.shared_cache,
        cache_epoch=version.model.cache_epoch,
        live=version.state == VersionState.LIVE,
        pool=version.model.pool,
        owner_id=version.model.owner_id,
        max_batch_tokens=version.max_batch_tokens,
        max_queue_delay_s=version.max_queue_delay_ms / 1000,
        title=version.model.title,
        description=version.model.description,
        accuracy=version.accuracy,
        accuracy_note=version.accuracy_note,
    )


def _load() -> Catalogue:
    found: dict[str, ModelRef] = {}
    for version in ModelVersion.objects.select_related("model").filter(state__in=ANSWERING):
        ref = reference(version)
        found[f"{ref.name}@{ref.version}"] = ref
        if ref.live:
            found[ref.name] = ref
    return Catalogue(found)


_catalogue: Snapshot[Catalogue] = Snapshot("models", _load)


def resolve(name: str, *, field: str = "model") -> ModelRef:
    """The version that answers for ``name`` or ``name@version``. Raises NOT_FOUND that names the field."""
    ref = _catalogue.get().by_reference.get(name)
    if ref is None:
        raise not_found(name, field=field)
    return ref


def not_found(name: str, *, field: str = "model") -> PlatformError:
    """The one answer for a model that does not exist, does not answer, or may not be used."""
    return PlatformError(
        ErrorKind.NOT_FOUND,
        f"There is no model {name[:128]!r} that this key may use; GET /v2/models lists them.",
        field=field,
    )


def answering() -> list[ModelRef]:
    """Every version that answers, ordered by name and version."""
    refs = {ref.version_id: ref for ref in _catalogue.get().by_reference.values()}
    return sorted(
        refs.values(),
        key=lambda ref: (ref.name, [int(part) for part in ref.version.split("-")[0].split(".")]),
    )


def artefact_folder(version: ModelVersion) -> Path:
    """Where the version's artefact lies. Raises INVALID_INPUT for a path that leaves the models folder."""
    root = Path(settings.MODELS_DIR).resolve()
    folder = (root / version.artefact_path).resolve()
    if root not in folder.parents:
        raise invalid("artefact_path", "The path must lie below the models folder.")
    return folder


def stage(*, model: MLModel, version: str, artefact_path: str, **fields: Any) -> ModelVersion:
    """Add a version whose artefact lies below the models folder; its digest is computed here. It answers nobody yet."""
    row = ModelVersion(model=model, version=version, artefact_path=artefact_path, **fields)
    row.sha256 = artefacts.digest(artefact_folder(row))
    row.full_clean()
    row.save()
    return row


def request_verification(*, version: ModelVersion) -> None:
    """Have a GPU worker load and warm the version; it becomes ready, or shows why it cannot."""
    enqueue("inference.verify_version", queue="gpu", version_id=version.pk)


@transaction.atomic
def mark_verified(*, version_id: int, error: str) -> None:
    """The worker's verdict: without an error a staged version becomes ready."""
    row = ModelVersion.objects.select_for_update().get(pk=version_id)
    row.load_error = error[:500]
    if not error and row.state == VersionState.STAGED:
        row.state = VersionState.READY
    row.save(update_fields=["load_error", "state"])
    _catalogue.publish()


@transaction.atomic
def promote(*, version: ModelVersion) -> None:
    """Make a ready version live; the one that was live stays ready for callers that pin it, and for going back."""
    MLModel.objects.select_for_update().get(pk=version.model_id)
    row = ModelVersion.objects.select_for_update().get(pk=version.pk)
    if row.state == VersionState.LIVE:
        return
    _require_not_ended(row)
    if row.state != VersionState.READY:
        raise PlatformError(
            ErrorKind.CONFLICT, f"{row} is {row.state}; only a ready version can go live. Verify it first."
        )
    for live in ModelVersion.objects.select_for_update().filter(model_id=row.model_id, state=VersionState.LIVE):
        live.state = VersionState.READY
        live.save(update_fields=["state"])
    row.state = VersionState.LIVE
    row.live_since = clock.now()
    row.save(update_fields=["state", "live_since"])
    _catalogue.publish()


def _require_not_ended(version: ModelVersion) -> None:
    """Going back to a deprecated version is allowed, for it may be urgent; to one that has ended it is not."""
    name = f"{version.model.name}@{version.version}"
    if DeprecationSchedule.objects.filter(
        kind=SubjectKind.MODEL_VERSION, subject=name, canceled_at__isnull=True, sunset_at__lte=clock.now()
    ).exists():
        raise PlatformError(ErrorKind.CONFLICT, f"{name} has ended by its schedule; promote another version.")


@transaction.atomic
def retire(*, version: ModelVersion) -> None:
    """Stop a version that is not live; callers that pin it get 'no such model'."""
    row = ModelVersion.objects.select_for_update().get(pk=version.pk)
    if row.state == VersionState.LIVE:
        raise PlatformError(ErrorKind.CONFLICT, f"{row} is live; promote another version first.")
    _require_no_promise(row)
    row.state = VersionState.RETIRED
    row.save(update_fields=["state"])
    _catalogue.publish()


def _require_no_promise(version: ModelVersion) -> None:
    """A version that callers were promised, until its sunset or as a successor, stays. Raises CONFLICT."""
    name = f"{version.model.name}@{version.version}"
    running = DeprecationSchedule.objects.filter(kind=SubjectKind.MODEL_VERSION, canceled_at__isnull=True)
    own = running.filter(subject=name).prefetch_related("brownouts", "extensions").first()
    if own is not None:
        ends = [own.sunset_at, *(extension.until for extension in own.extensions.all())]
        if max(ends) > clock.now():
            raise PlatformError(
                ErrorKind.CONFLICT,
                f"{name} was promised until {max(ends):%Y-%m-%d}; from then on its calls get 410. Change its schedule first.",
            )
    other = running.filter(successor=name, sunset_at__gt=clock.now()).first()
    if other is not None:
        raise PlatformError(
            ErrorKind.CONFLICT, f"{name} is the successor of {other.subject}; name another in that schedule first."
        )


@transaction.atomic
def purge_cache(*, model: MLModel) -> None:
    """Forget every cached answer of the model at once: old entries are never asked for again and fade out."""
    row = MLModel.objects.select_for_update().get(pk=model.pk)
    row.cache_epoch += 1
    row.save(update_fields=["cache_epoch"])
    _catalogue.publish()


def changed() -> None:
    """To be called after a form saved a model or a version."""
    _catalogue.publish()


def forget() -> None:
    """Drop the catalogue that this process holds; for tests."""
    _catalogue.forget()
