"""Whether a version may still be given to callers that did not ask for it."""

from collections.abc import Sequence

from inference.models import ModelVersion
from mlplatform.lib import clock
from tenants.models import DeprecationSchedule, SubjectKind


def has_ended(version: ModelVersion) -> bool:
    """Going to a deprecated version is allowed, for it may be urgent; to one that has ended it is not."""
    return not without_ended([version])


def without_ended(versions: Sequence[ModelVersion]) -> list[ModelVersion]:
    """Those that have not ended by their schedule, in the same order; one query."""
    ended = set(
        DeprecationSchedule.objects.filter(
            kind=SubjectKind.MODEL_VERSION,
            subject__in=[str(version) for version in versions],
            canceled_at__isnull=True,
            sunset_at__lte=clock.now(),
        ).values_list("subject", flat=True)
    )
    return [version for version in versions if str(version) not in ended]
