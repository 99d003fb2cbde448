"""Canaries and shadows: begun, widened, stopped, and ended by what was observed."""

from typing import Any, Final

from django.db import transaction

from inference.models import MLModel, ModelVersion, Rollout, RolloutKind, RolloutState, VersionState
from inference.registry import live
from inference.registry.rollouts import events, holding, share, sunset
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants.models import User

_MAX_REASON: Final = 300


def start_canary(
    *,
    version: ModelVersion,
    percent: int,
    by: User | None = None,
    max_error_rate: float | None = None,
    max_latency_ratio: float | None = None,
    min_calls: int | None = None,
) -> Rollout:
    """Let a ready version answer ``percent`` (1 to 100) of the tenants that name its model alone.

    Where a canary of the version runs, its share and the bounds that are given are changed, and the tenants that it has stay
    with it while it grows; a new one has the defaults of ``Rollout`` for bounds that are not given.
    Raises CONFLICT where another one runs, where the version is not ready or no worker holds it, or where no version is live, and
    INVALID_INPUT for numbers out of range and for a share of a private model, which has one tenant.
    """
    if not 1 <= percent <= 100:
        raise invalid("percent", "The percent of a canary is a whole number from 1 to 100.")
    if version.model.owner_id is not None and percent != 100:
        raise invalid("percent", "A private model has one tenant, which a canary takes whole: its percent is 100.")
    if max_error_rate is not None and not 0 <= max_error_rate <= 1:
        raise invalid("max_error_rate", "The error rate is a number from 0 to 1.")
    if max_latency_ratio is not None and not 1 <= max_latency_ratio <= 100:
        raise invalid("max_latency_ratio", "The latency ratio is a number from 1 to 100.")
    if min_calls is not None and not 1 <= min_calls <= 1_000_000:
        raise invalid("min_calls", "The number of calls is a whole number from 1 to 1,000,000.")
    bounds = {"max_error_rate": max_error_rate, "max_latency_ratio": max_latency_ratio, "min_calls": min_calls}
    given = {name: value for name, value in bounds.items() if value is not None}
    return _start(version, RolloutKind.CANARY, percent, by, given)


def start_shadow(*, version: ModelVersion, percent: int = 100, by: User | None = None) -> Rollout:
    """Have a ready version compute ``percent`` of the live version's inputs once more, to compare. Raises as a canary."""
    if not 1 <= percent <= 100:
        raise invalid("percent", "The percent of a shadow is a whole number from 1 to 100.")
    return _start(version, RolloutKind.SHADOW, percent, by, {})


@transaction.atomic
def stop(*, model: MLModel, kind: RolloutKind | str, by: User | None = None) -> bool:
    """End what runs, if it does; False where nothing ran."""
    row = (
        Rollout.objects.select_for_update(of=("self",))
        .select_related("candidate__model__owner")
        .filter(model=model, kind=kind, state=RolloutState.RUNNING)
        .first()
    )
    if row is None:
        return False
    end(row, state=RolloutState.STOPPED, reason="Stopped.", by=by)
    return True


def end(row: Rollout, *, state: RolloutState, reason: str, by: User | None = None) -> None:
    """Write the end of a running rollout and tell it; in the caller's transaction, which holds the row's lock.

    Who did it stands on the row, which staff read, and not in the event, which goes to customers.
    """
    row.state, row.ended_at = state, clock.now()
    row.reason = (f"{reason.removesuffix('.')} by {by}." if by else reason)[:_MAX_REASON]
    row.save(update_fields=["state", "reason", "ended_at"])
    live.changed()
    if state == RolloutState.PROMOTED:
        return  # The promotion is told to more than these.
    step = "failed" if state == RolloutState.ROLLED_BACK else "stopped"
    events.tell(
        row.candidate,
        f"{row.kind}_{step}",
        only=_taken(row),
        rollout_id=row.pk,
        reason=reason[:_MAX_REASON],
        percent=row.percent,
    )


def _start(version: ModelVersion, kind: RolloutKind, percent: int, by: User | None, bounds: dict[str, Any]) -> Rollout:
    if not Rollout.objects.filter(candidate=version, kind=kind, state=RolloutState.RUNNING).exists():
        holding.require_held_if_ready(version)
    return _write(version, kind, percent, by, bounds)


@transaction.atomic
def _write(version: ModelVersion, kind: RolloutKind, percent: int, by: User | None, bounds: dict[str, Any]) -> Rollout:
    model = MLModel.objects.select_for_update().get(pk=version.model_id)
    candidate = ModelVersion.objects.select_related("model__owner").get(pk=version.pk)
    if candidate.state == VersionState.LIVE:
        raise PlatformError(ErrorKind.CONFLICT, f"{candidate} is live; a {kind.label.lower()} tries another version.")
    if candidate.state != VersionState.READY:
        raise PlatformError(ErrorKind.CONFLICT, f"{candidate} is {candidate.state}; only a ready version can be tried.")
    if sunset.has_ended(candidate):
        raise PlatformError(ErrorKind.CONFLICT, f"{candidate} has ended by its schedule; try another version.")
    if not model.versions.filter(state=VersionState.LIVE).exists():
        raise PlatformError(ErrorKind.CONFLICT, f"No version of {model} is live to compare with; promote one first.")
    running = Rollout.objects.select_for_update().filter(model=model, kind=kind, state=RolloutState.RUNNING).first()
    if running is not None and running.candidate_id != candidate.pk:
        other = ModelVersion.objects.select_related("model__owner").get(pk=running.candidate_id)
        raise PlatformError(ErrorKind.CONFLICT, f"A {kind.label.lower()} of {other} runs; stop it first.")
    row = running or Rollout(model=model, kind=kind, started_by=by)
    row.candidate, row.percent = candidate, percent
    for name, value in bounds.items():
        setattr(row, name, value)
    row.save()
    live.changed()
    events.tell(
        candidate,
        f"{kind}_{'changed' if running else 'started'}",
        only=_taken(row),
        rollout_id=row.pk,
        percent=percent,
    )
    return row


def _taken(row: Rollout) -> set[int] | None:
    """The customers whose answers a canary changes; of a shadow customers hear nothing."""
    if row.kind != RolloutKind.CANARY:
        return None
    users = events.users(row.model.qualified_name)
    return {one for one in users if share.takes(rollout_id=row.pk, percent=row.percent, tenant_id=one)}
