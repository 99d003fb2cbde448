"""Model versions through their states; what is served is read from memory, in ``inference.registry.live``.

``staged`` → (a worker loads and warms it) → ``ready`` → ``live`` → ``ready`` again when another is promoted, or
``retired``. One version of a model is live; ready ones answer callers that pin them. Every step is an event.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from inference.models import MLModel, ModelVersion, Rollout, RolloutState, VersionState
from inference.registry import artefacts, live
from inference.registry.live import (
    ANSWERING,
    answering,
    candidates,
    changed,
    is_visible_to,
    meter_of,
    not_found,
    reference,
    resolve,
    subject_of,
)
from inference.registry.packages import storage
from inference.registry.rollouts import events, holding, promotions, standby, trials
from mlplatform.lib import clock
from mlplatform.lib.enqueue import enqueue
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants.models import DeprecationSchedule, SubjectKind, User

logger = logging.getLogger(__name__)

_MOST_BREACHES: Final = 2
"""So often a tenant's model may break a limit of time or memory; then it is out of service."""

__all__ = [
    "ANSWERING",
    "answering",
    "artefact_folder",
    "candidates",
    "changed",
    "forget",
    "is_visible_to",
    "limit_broken",
    "mark_verified",
    "meter_of",
    "not_found",
    "note_max_tokens",
    "promote",
    "purge_cache",
    "reference",
    "request_verification",
    "resolve",
    "retire",
    "rollback",
    "stage",
    "subject_of",
]


def artefact_folder(version: ModelVersion) -> Path:
    """Where the version's artefact lies. Raises INVALID_INPUT for a path that leaves the models folder."""
    root = Path(settings.MODELS_DIR).resolve()
    folder = (root / version.artefact_path).resolve()
    if root not in folder.parents:
        raise invalid("artefact_path", "The path must lie below the models folder.")
    return folder


def stage(*, model: MLModel, version: str, artefact_path: str, sha256: str = "", **fields: Any) -> ModelVersion:
    """Add a version whose artefact lies below the models folder. It answers no call yet.

    Its digest is computed here, unless it was when the files were checked and stored (``inference.registry.packages``).
    """
    row = ModelVersion(model=model, version=version, artefact_path=artefact_path, **fields)
    row.sha256 = sha256 or artefacts.digest(artefact_folder(row))
    row.full_clean()
    with transaction.atomic():
        row.save()
        events.tell(row, "staged")
    return row


def request_verification(*, version: ModelVersion) -> None:
    """Have a GPU worker load and warm the version; it becomes ready, or shows why it cannot."""
    enqueue(holding.VERIFY_TASK, queue=version.model.pool, version_id=version.pk)


@transaction.atomic
def mark_verified(*, version_id: int, error: str, for_good: bool = False, max_tokens: int | None = None) -> None:
    """The worker's verdict: without an error a staged version becomes ready. ``max_tokens`` is how many tokens of a text it
    reads, which its worker knows.

    An error ``for_good`` is of the version itself, and would come again: a tenant's staged version retires with it, so that its
    files take no room.
    """
    row = ModelVersion.objects.select_for_update(of=("self",)).select_related("model__owner").get(pk=version_id)
    row.load_error = error[:500]
    _put_max_tokens(row, max_tokens)
    if error:
        events.tell(row, "failed", reason=row.load_error)
        if for_good and row.state == VersionState.STAGED and row.model.owner_id is not None:
            row.state = VersionState.RETIRED
            transaction.on_commit(partial(_remove_files, row))
    elif row.state == VersionState.STAGED:
        row.state, row.ready_since = VersionState.READY, clock.now()
        events.tell(row, "ready")
    row.save(update_fields=["load_error", "state", "ready_since", "input_schema"])
    changed()


@transaction.atomic
def note_max_tokens(*, version_id: int, max_tokens: int) -> None:
    """What a worker found when it loaded a version that was verified before this was asked."""
    row = ModelVersion.objects.select_for_update().get(pk=version_id)
    if _put_max_tokens(row, max_tokens):
        row.save(update_fields=["input_schema"])
        changed()


def _put_max_tokens(row: ModelVersion, max_tokens: int | None) -> bool:
    """Beside what else is said of the input; False where it stands there."""
    if max_tokens is None or row.input_schema.get("max_tokens") == max_tokens:
        return False
    row.input_schema = {**row.input_schema, "max_tokens": max_tokens}
    return True


def promote(*, version: ModelVersion, by: User | None = None, before_workers: bool = False) -> None:
    """Make a ready version live; the one that was live stays ready. Raises CONFLICT as :func:`promotions.promote` says."""
    promotions.promote(version=version, by=by, before_workers=before_workers)


def forget() -> None:
    """Drop what this process holds in memory; for tests."""
    live.forget()
    standby.forget()


def rollback(*, model: MLModel, by: User | None = None) -> ModelVersion:
    """Make that version live again which was live before, and give it. Raises CONFLICT where there is none."""
    return promotions.rollback(model=model, by=by).version


@transaction.atomic
def retire(*, version: ModelVersion) -> None:
    """Stop a version that is not live; callers that pin it get 'no such model'.

    The files of a tenant's private version go with it: what a tenant may keep is bounded by its versions.
    """
    MLModel.objects.select_for_update().get(pk=version.model_id)
    row = ModelVersion.objects.select_for_update(of=("self",)).select_related("model__owner").get(pk=version.pk)
    if row.state == VersionState.LIVE:
        raise PlatformError(ErrorKind.CONFLICT, f"{row} is live; promote another version first.")
    if row.state == VersionState.RETIRED:
        return
    if Rollout.objects.filter(candidate=row, state=RolloutState.RUNNING).exists():
        raise PlatformError(ErrorKind.CONFLICT, f"{row} is being tried; stop its canary or shadow first.")
    _require_no_promise(row)
    row.state = VersionState.RETIRED
    row.save(update_fields=["state"])
    events.tell(row, "retired")
    changed()
    if row.model.owner_id is not None:
        transaction.on_commit(partial(_remove_files, row))


@transaction.atomic
def limit_broken(*, version_id: int, reason: str) -> None:
    """A tenant's model took more time or memory for a batch than it may. Its owner is told; the second time the version is
    taken out of service, live or not, and with whatever promise: it retires, and calls of it get 'no such model'."""
    model_id = ModelVersion.objects.values_list("model_id", flat=True).get(pk=version_id)
    MLModel.objects.select_for_update().get(pk=model_id)
    row = ModelVersion.objects.select_for_update(of=("self",)).select_related("model__owner").get(pk=version_id)
    if row.state == VersionState.RETIRED:
        return
    row.breaches += 1
    row.load_error = f"It broke its limits {row.breaches} times; the last time: {reason}"[:500]
    out = row.breaches >= _MOST_BREACHES
    if out:
        for rollout in Rollout.objects.select_for_update().filter(candidate=row, state=RolloutState.RUNNING):
            trials.end(rollout, state=RolloutState.STOPPED, reason="The version was taken out of service.")
        row.state = VersionState.RETIRED
    row.save(update_fields=["breaches", "load_error", "state"])
    events.tell(row, "limit_broken", reason=reason[:500], times=row.breaches, out_of_service=out)
    if out:
        logger.warning("%s was taken out of service: %s", row, row.load_error)
        events.tell(row, "retired")
        changed()
        transaction.on_commit(partial(_remove_files, row))


def _remove_files(version: ModelVersion) -> None:
    """Of a version that was pushed, once no other has them; a folder that staff named stays."""
    path = version.artefact_path
    # Before tenants had namespaces, files of private models lay under the plain name.
    names = {version.model.qualified_name, version.model.name}
    if path not in {storage.path_of(model=name, version=version.version, digest=version.sha256) for name in names}:
        return
    if ModelVersion.objects.filter(artefact_path=path).exclude(state=VersionState.RETIRED).exists():
        return
    try:
        storage.remove(path)
    except Exception:
        # Of a bucket that is away, say: the version is retired even so; its files do no harm but take room.
        logger.exception("the files of a retired version stay in the storage: %s", path)


def _require_no_promise(version: ModelVersion) -> None:
    """A version that callers were promised, until its sunset or as a successor, stays. Raises CONFLICT."""
    name = str(version)
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
    changed()
