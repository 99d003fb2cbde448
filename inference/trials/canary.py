"""Running rollouts are looked at every few seconds: what was seen is kept in SQL, and a canary that breaks its bounds ends."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from django.db import transaction
from prometheus_client import Counter

from inference.models import Rollout, RolloutKind, RolloutState
from inference.registry.rollouts import trials
from inference.trials import counting, judging, shadow
from inference.trials.counting import CANARY, LIVE, SHADOW, Counts
from inference.trials.judging import Bounds, Seen
from inference.types import metric_label

logger = logging.getLogger(__name__)

TASK: Final = "inference.judge_rollouts"

_rolled_back = Counter("mlplatform_canaries_rolled_back_total", "Canaries that ended because a bound broke.", ["model"])


def judge_all() -> int:
    """Look at every running rollout; gives how many canaries ended now. Raises what Redis raises."""
    running = Rollout.objects.filter(state=RolloutState.RUNNING).select_related("candidate__model__owner")
    return sum(judge(row) for row in running)


def judge(row: Rollout) -> bool:
    """Keep what was seen, and end a canary whose bounds are broken, in all its time or in the last minutes."""
    counts = counting.read(row.pk)
    seen = observed(row.kind, counts)
    if seen != row.observed:
        Rollout.objects.filter(pk=row.pk).update(observed=seen)
    if row.kind != RolloutKind.CANARY:
        return False
    bounds = Bounds(row.max_error_rate, row.max_latency_ratio, row.min_calls)
    reason = _verdict(bounds, counts.total) or _verdict(bounds, counts.recent)
    return bool(reason) and _roll_back(row, reason)


def observed(kind: str, counts: Counts) -> dict[str, Any]:
    """What pages and answers say of a rollout; numbers of the whole time."""
    total = counts.total
    if kind == RolloutKind.CANARY:
        return {arm: _numbers(counting.seen(total, arm)) for arm in (CANARY, LIVE)}
    compared = total.get(f"{SHADOW}:{shadow.COMPARED}", 0)
    names = (shadow.COMPARED, shadow.AGREED, shadow.FAILED, shadow.REFUSED, shadow.DROPPED)
    difference = total.get(f"{SHADOW}:{shadow.DIFFERENCE}", 0) / 1_000_000 / compared if compared else None
    return {
        **{name: total.get(f"{SHADOW}:{name}", 0) for name in names},
        "mean_difference": None if difference is None else round(difference, 6),
    }


def _numbers(seen: Seen) -> dict[str, Any]:
    median = seen.median_ms
    return {
        "inputs": seen.calls,
        "errors": seen.errors,
        "timed": seen.timed,
        "median_ms": None if median is None else round(median, 2),
    }


def _verdict(bounds: Bounds, counts: Mapping[str, int]) -> str:
    return judging.verdict(bounds, counting.seen(counts, CANARY), counting.seen(counts, LIVE))


@transaction.atomic
def _roll_back(row: Rollout, reason: str) -> bool:
    """False where it was ended in this moment."""
    locked = (
        Rollout.objects.select_for_update(of=("self",))
        .select_related("candidate__model__owner")
        .filter(pk=row.pk, state=RolloutState.RUNNING)
        .first()
    )
    if locked is None:
        return False
    trials.end(locked, state=RolloutState.ROLLED_BACK, reason=reason)
    model = locked.candidate.model
    _rolled_back.labels(metric_label(model.name, private=model.owner_id is not None)).inc()
    logger.warning("the canary of %s was rolled back: %s", locked.candidate, reason)
    return True
