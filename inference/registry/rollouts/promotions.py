"""The switch of a model's live version, forwards and back, and its history.

``Promotion.previous`` is where a rollback goes. A rollback goes one step back in what was promoted, never to what was just
rolled back: two in a row go back two promotions, and forwards again goes by promoting.
"""

from django.db import transaction

from inference.models import (
    MLModel,
    ModelVersion,
    Promotion,
    PromotionReason,
    Rollout,
    RolloutKind,
    RolloutState,
    VersionState,
)
from inference.registry import live as live_versions
from inference.registry.rollouts import events, holding, sunset, trials
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.models import User


def promote(*, version: ModelVersion, by: User | None = None, before_workers: bool = False) -> Promotion | None:
    """Make a ready version live; the one that was live stays ready for callers that pin it, and for going back.

    A running canary or shadow of the version has passed; a canary of another one ends, because it was tried against a version
    that answers no more. None where the version is live already. Raises CONFLICT for a version that is not ready or has ended,
    and as :func:`holding.require_held` where no worker holds it now; ``before_workers`` is for an installation whose workers
    start after it, and load what is live before they say that they are there.
    """
    if not before_workers:
        holding.require_held_if_ready(version)
    return _promote(version, by)


@transaction.atomic
def _promote(version: ModelVersion, by: User | None) -> Promotion | None:
    MLModel.objects.select_for_update().get(pk=version.model_id)
    row = ModelVersion.objects.select_for_update(of=("self",)).select_related("model__owner").get(pk=version.pk)
    if row.state == VersionState.LIVE:
        return None
    if sunset.has_ended(row):
        raise PlatformError(ErrorKind.CONFLICT, f"{row} has ended by its schedule; promote another version.")
    if row.state != VersionState.READY:
        raise PlatformError(
            ErrorKind.CONFLICT, f"{row} is {row.state}; only a ready version can go live. Verify it first."
        )
    canary = Rollout.objects.filter(candidate=row, kind=RolloutKind.CANARY, state=RolloutState.RUNNING).exists()
    _end_trials(row)
    before = _switch(row)
    promotion = Promotion.objects.create(
        model=row.model,
        version=row,
        previous=before,
        reason=PromotionReason.CANARY_PASSED if canary else PromotionReason.PROMOTED,
        by=by,
    )
    events.tell(row, "promoted", previous=before.version if before else None)
    return promotion


@transaction.atomic
def rollback(*, model: MLModel, by: User | None = None, why: str = "") -> Promotion:
    """Make that version live again which was live before; gives the switch. Raises CONFLICT where there is none.

    It is for emergencies, so it does not ask whether a worker holds the version: they keep what was live within a day while
    they have room (``standby``), and load anything else when it is called. Versions that answer no more
    are passed over. A running canary ends: what it was compared with is gone.
    """
    model = MLModel.objects.select_for_update().get(pk=model.pk)
    live = ModelVersion.objects.filter(model=model, state=VersionState.LIVE).first()
    target = target_of_rollback(model, live=live)
    if live is None or target is None:
        raise PlatformError(
            ErrorKind.CONFLICT,
            f"There is no version of {model} to go back to: none that was live before still answers. Promote one.",
        )
    row = ModelVersion.objects.select_for_update(of=("self",)).select_related("model__owner").get(pk=target.pk)
    way = _way_to(live)[:-1]
    _end_trials(row)
    _switch(row)
    while way.pop() != row.pk:
        pass
    promotion = Promotion.objects.create(
        model=model,
        version=row,
        previous_id=way[-1] if way else None,
        reason=PromotionReason.ROLLED_BACK,
        by=by,
    )
    events.tell(row, "rolled_back", previous=live.version, reason=why)
    return promotion


def target_of_rollback(model: MLModel, *, live: ModelVersion | None = None) -> ModelVersion | None:
    """The version to which a rollback would go now: the nearest that was live before and still answers."""
    now_live = live or ModelVersion.objects.filter(model=model, state=VersionState.LIVE).first()
    before = _way_to(now_live)[:-1] if now_live is not None else []
    known = ModelVersion.objects.select_related("model__owner").in_bulk(set(before))
    for pk in reversed(before):
        found = known[pk]
        if found.state == VersionState.READY and not sunset.has_ended(found):
            return found
    return None


def history(model: MLModel, *, most: int = 50) -> list[Promotion]:
    """Every switch, the latest first."""
    return list(model.promotions.select_related("version__model__owner", "previous", "by")[:most])


def _way_to(live: ModelVersion) -> list[int]:
    """The versions that were promoted one upon the other up to the live one, which is the last; empty where none was.

    A rollback takes away what lay upon the version to which it went, so that going back can never lead forwards again.
    """
    way: list[int] = []
    switches = Promotion.objects.filter(model_id=live.model_id).order_by("at", "pk")
    for pk, reason, before in switches.values_list("version_id", "reason", "previous_id"):
        if reason == PromotionReason.ROLLED_BACK:
            while pk in way and way[-1] != pk:
                way.pop()
        elif before is not None and way[-1:] != [before]:
            way.append(before)  # live from before there was a history
        if way[-1:] != [pk]:
            way.append(pk)
    return way if way[-1:] == [live.pk] else []


def _switch(row: ModelVersion) -> ModelVersion | None:
    """Row by row, so that the audit log has each; in one transaction, so that no moment is without a live version."""
    before = None
    for live in (
        ModelVersion.objects.select_for_update(of=("self",))
        .select_related("model__owner")
        .filter(model_id=row.model_id, state=VersionState.LIVE)
    ):
        live.state = VersionState.READY
        live.save(update_fields=["state"])
        before = live
    row.state = VersionState.LIVE
    row.live_since = clock.now()
    row.save(update_fields=["state", "live_since"])
    live_versions.changed()
    return before


def _end_trials(row: ModelVersion) -> None:
    for trial in Rollout.objects.select_for_update().filter(model_id=row.model_id, state=RolloutState.RUNNING):
        if trial.candidate_id == row.pk:
            trials.end(trial, state=RolloutState.PROMOTED, reason="")
        elif trial.kind == RolloutKind.CANARY:
            trials.end(trial, state=RolloutState.STOPPED, reason=f"{row} became live.")
