"""Whether a version may still be given to callers that did not ask for it."""

from inference.models import ModelVersion
from mlplatform.lib import clock
from tenants.models import DeprecationSchedule, SubjectKind


def has_ended(version: ModelVersion) -> bool:
    """Going to a deprecated version is allowed, for it may be urgent; to one that has ended it is not."""
    return DeprecationSchedule.objects.filter(
        kind=SubjectKind.MODEL_VERSION, subject=str(version), canceled_at__isnull=True, sunset_at__lte=clock.now()
    ).exists()
