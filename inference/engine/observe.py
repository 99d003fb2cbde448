"""What a finished call tells of the versions that answered it. Nothing of it changes or delays an answer."""

import logging
import random
from collections.abc import Iterable, Sequence
from typing import Final

from billing.admission import Subject
from inference.engine.preparing import Prepared
from inference.registry.live import LiveVersions
from inference.trials import counting, judging, shadow
from inference.trials.counting import CALLS, CANARY, ERRORS, LIVE
from inference.trials.shadow import Mirrored
from inference.types import CallContext
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError

logger = logging.getLogger(__name__)

_OF_THE_MODEL: Final = frozenset(
    {ErrorKind.UNPROCESSABLE, ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT, ErrorKind.INTERNAL}
)
"""Failures that a version can be the reason of; limits and a full queue are not."""


def note(
    subject: Subject,
    context: CallContext,
    items: Sequence[Prepared],
    *,
    started: float,
    now: LiveVersions,
) -> None:
    """Count what was computed of models with a running canary, and mirror inputs of those with a shadow.

    ``items`` are those that were admitted, ``started`` is the call's beginning on the monotonic clock, ``now`` what was
    served then. Without a rollout it costs two look-ups. What a cache or an equal computation answered tells nothing of a
    version.
    """
    try:
        if now.canaries or now.shadows:
            computed = [item for item in items if item.settled_by_worker]
            if now.canaries and not (context.cancellation is not None and context.cancellation.canceled):
                alone = len(items) == 1
                _count(now, computed, ms=(clock.monotonic() - started) * 1000 if alone else None)
            if now.shadows:
                _mirror(now, subject, computed)
    except Exception:
        # The call is answered and paid: what goes wrong here is no problem of the customer's.
        logger.exception("a call could not be observed for the rollouts")


def _count(now: LiveVersions, computed: Iterable[Prepared], *, ms: float | None) -> None:
    """``ms`` is the time of a call of one input. That of many says how many there were, and tenants differ in that."""
    for item in computed:
        canary, outcome = now.canaries.get(item.ref.qualified_name), item.outcome
        if canary is None or outcome is None:
            continue
        if item.ref.version_id == canary.candidate.version_id:
            arm = CANARY
        elif item.ref.live:
            arm = LIVE
        else:
            continue
        if not isinstance(outcome, PlatformError):
            place = judging.bucket(ms) if ms is not None else None
            counting.add(canary.rollout_id, arm, {CALLS: 1}, bucket=place)
        elif outcome.kind in _OF_THE_MODEL:
            counting.add(canary.rollout_id, arm, {CALLS: 1, ERRORS: 1})


def _mirror(now: LiveVersions, subject: Subject, computed: Iterable[Prepared]) -> None:
    for item in computed:
        trial, scores = now.shadows.get(item.ref.qualified_name), item.outcome
        if trial is None or not item.ref.live or not isinstance(scores, bytes):
            continue
        if random.random() * 100 >= trial.percent:  # noqa: S311 - a sample, no secret
            continue
        shadow.offer(
            Mirrored(
                rollout_id=trial.rollout_id,
                candidate=trial.candidate,
                live=item.ref,
                payload=item.payload,
                sent=item.request.input,
                truncate=item.truncate,
                given=scores,
                tenant_id=subject.tenant_id,
                shard=subject.shard,
            )
        )
