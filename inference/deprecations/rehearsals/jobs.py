"""Migration rehearsals: a tenant's sampled calls of a deprecated version, replayed on its successor by a background job.

The row is the truth and exists before its message. A run takes a lease and the next attempt's number; whatever it writes
counts only while that attempt is the row's, so a run that was thought dead cannot overwrite its successor's. What was
lost is sent again by :func:`sweep`, three times at most.
"""

import datetime as dt
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import IntegrityError, transaction

from inference.deprecations.rehearsals import calls as rehearsed_calls
from inference.deprecations.rehearsals import report
from inference.deprecations.rehearsals.replaying import WorkersAwayError
from inference.deprecations.rehearsals.report import CallOutcome
from inference.deprecations.samples import store as samples
from inference.models.lifecycle import Rehearsal, RehearsalState
from mlplatform.lib import clock
from mlplatform.lib.enqueue import enqueue
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.deprecations import catalogue, schedules
from tenants.models import ApiKey, Tenant, User

logger = logging.getLogger(__name__)

TASK: Final = "inference.rehearse"
MAX_ATTEMPTS: Final = 3
LEASE: Final = dt.timedelta(minutes=3)
"""Longer than one call can take, with all its patience; each call renews it."""
_OPEN: Final = (RehearsalState.QUEUED, RehearsalState.PROCESSING)
_ERROR_CHARS: Final = 500


class FencedError(Exception):
    """The row went to another attempt, or away: what this run found is dropped."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """The right to work on a rehearsal, until the lease ends."""

    rehearsal_id: int
    attempt: int


def request(*, schedule_id: int, tenant: Tenant, by: User | None = None) -> Rehearsal:
    """Have the tenant's calls rehearsed. Raises NOT_FOUND, FORBIDDEN without opt-in, CONFLICT while one is open."""
    schedule = schedules.announced(schedule_id)
    if not tenant.keeps_calls:
        raise PlatformError(
            ErrorKind.FORBIDDEN,
            "A rehearsal replays sampled calls, and your tenant has not opted in to have them kept. An owner or admin of "
            "the tenant can opt in; from then on calls of deprecated versions are kept for 30 days.",
        )
    try:
        with transaction.atomic():
            row = Rehearsal.objects.create(schedule=schedule, tenant=tenant, requested_by=by)
            enqueue(TASK, rehearsal_id=row.pk)
    except IntegrityError as error:
        raise PlatformError(
            ErrorKind.CONFLICT, "A rehearsal of this migration is under way; wait for its report."
        ) from error
    return row


def latest(*, schedule_id: int, tenant_id: int) -> Rehearsal | None:
    """The tenant's newest rehearsal, whatever its state."""
    return Rehearsal.objects.filter(schedule_id=schedule_id, tenant_id=tenant_id).order_by("-pk").first()


def verdicts(*, schedule_id: int) -> Mapping[int, str]:
    """The verdict of each tenant's newest finished rehearsal, by tenant id; a tenant without one is missing."""
    rows = Rehearsal.objects.filter(schedule_id=schedule_id, state=RehearsalState.SUCCEEDED).order_by("pk")
    return dict(rows.values_list("tenant_id", "verdict"))


def verdict(*, schedule_id: int, tenant_id: int) -> str:
    """The verdict of one tenant's newest finished rehearsal; empty without one."""
    rows = Rehearsal.objects.filter(schedule_id=schedule_id, tenant_id=tenant_id, state=RehearsalState.SUCCEEDED)
    return rows.order_by("-pk").values_list("verdict", flat=True).first() or ""


def run(rehearsal_id: int) -> None:
    """Work on a rehearsal if it is there to be worked on; whatever keeps it from ending is kept as its reason."""
    claim = _claim(rehearsal_id)
    if claim is None:
        return
    try:
        outcomes = _replay(claim)
        _finish(claim, report.of(outcomes))
    except FencedError:
        logger.warning("rehearsal %s went to another attempt than %s", claim.rehearsal_id, claim.attempt)
    except WorkersAwayError as error:
        logger.warning("rehearsal %s at attempt %s: %s", claim.rehearsal_id, claim.attempt, error)
        _give_back(claim, str(error))
    except Exception:
        # Redis that is away, or a mistake of ours: customers read the reason, so it says nothing of our insides.
        logger.exception("rehearsal %s failed at attempt %s", claim.rehearsal_id, claim.attempt)
        _give_back(claim, "The service failed; its log says why.")
    else:
        _send_next()


def sweep() -> int:
    """Send what was lost once more and end what failed too often; the number of rehearsals that were touched.

    By beat each half minute. One rehearsal is at work at a time, for the jobs workers have other things to do.
    """
    lost = Rehearsal.objects.filter(
        state=RehearsalState.PROCESSING, lease_until__lt=clock.now(), attempt__gte=MAX_ATTEMPTS
    )
    ended = lost.update(
        state=RehearsalState.FAILED,
        error=f"The worker was lost at each of {MAX_ATTEMPTS} attempts.",
        finished_at=clock.now(),
    )
    return ended + _send_next()


def _send_next() -> int:
    """Enqueue the rehearsal that has waited longest, unless one is at work; one that lost its worker comes first."""
    now = clock.now()
    if Rehearsal.objects.filter(state=RehearsalState.PROCESSING, lease_until__gte=now).exists():
        return 0
    row = Rehearsal.objects.filter(state__in=_OPEN, attempt__lt=MAX_ATTEMPTS).order_by("pk").first()
    if row is None:
        return 0
    enqueue(TASK, rehearsal_id=row.pk)
    return 1


@transaction.atomic
def _claim(rehearsal_id: int) -> _Claim | None:
    """Take the next attempt, unless a worker is at it or at another rehearsal, or the attempts are used up."""
    now = clock.now()
    # All that are open are locked in one order, so that two workers cannot both find that none is at work.
    rows = {row.pk: row for row in Rehearsal.objects.select_for_update().filter(state__in=_OPEN).order_by("pk")}
    row = rows.get(rehearsal_id)
    at_work = [
        one for one in rows.values()
        if one.state == RehearsalState.PROCESSING and one.lease_until is not None and one.lease_until >= now
    ]  # fmt: skip
    if row is None or at_work or row.attempt >= MAX_ATTEMPTS:
        return None
    row.state = RehearsalState.PROCESSING
    row.attempt += 1
    row.lease_until = now + LEASE
    row.save(update_fields=["state", "attempt", "lease_until"])
    return _Claim(row.pk, row.attempt)


def _replay(claim: _Claim) -> list[CallOutcome]:
    """The outcome of each sample, one after the other; the lease is renewed before each."""
    row = Rehearsal.objects.select_related("schedule", "tenant").get(pk=claim.rehearsal_id)
    schedule = catalogue.frozen(row.schedule)
    found = samples.replayable(tenant_id=row.tenant_id, kind=schedule.kind, subject=schedule.subject)
    allowed = dict(ApiKey.objects.filter(tenant_id=row.tenant_id).values_list("uid", "allowed_models"))
    outcomes = []
    for sample in found:
        _update(claim, lease_until=clock.now() + LEASE)
        outcomes.append(
            rehearsed_calls.rehearse(
                sample, schedule=schedule, tenant=row.tenant, allowed_models=allowed.get(sample.key_uid, ())
            )
        )
    return outcomes


def _finish(claim: _Claim, made: report.RehearsalReport) -> None:
    _update(
        claim,
        state=RehearsalState.SUCCEEDED,
        verdict=made.verdict,
        report=made.as_json(),
        error="",
        finished_at=clock.now(),
    )


def _give_back(claim: _Claim, reason: str) -> None:
    """Back into the queue after a failure, or failed for good after the last attempt."""
    last = claim.attempt >= MAX_ATTEMPTS
    try:
        _update(
            claim,
            state=RehearsalState.FAILED if last else RehearsalState.QUEUED,
            error=reason[:_ERROR_CHARS],
            finished_at=clock.now() if last else None,
            lease_until=clock.now(),
        )
    except FencedError:
        logger.warning("rehearsal %s went to another attempt than %s", claim.rehearsal_id, claim.attempt)


def _update(claim: _Claim, **fields: Any) -> None:
    """Write if the attempt is still this one. Raises :class:`FencedError`."""
    rows = Rehearsal.objects.filter(pk=claim.rehearsal_id, attempt=claim.attempt, state=RehearsalState.PROCESSING)
    if not rows.update(**fields):
        raise FencedError
