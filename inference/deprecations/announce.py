"""Announcing the end of a model version in one step, with the drafted guide."""

import datetime as dt

from inference.deprecations import subjects
from inference.deprecations.guides import pages as guide_pages
from inference.models import ModelVersion
from mlplatform.lib import clock
from mlplatform.lib.errors import invalid
from tenants.deprecations import schedules
from tenants.models import DeprecationSchedule, SubjectKind, User
from tenants.models.deprecation import Audience


def deprecate(
    *,
    version: ModelVersion,
    successor: str,
    sunset_at: dt.datetime,
    reason: str,
    short_notice_reason: str = "",
    by: User | None = None,
) -> DeprecationSchedule:
    """Announce and deprecate the version at once; it ends at ``sunset_at``.

    Raises ValidationError that names the fields which are wrong, and INVALID_INPUT for a successor that is none.
    """
    subject = str(version)
    try:
        guide = guide_pages.draft(kind=SubjectKind.MODEL_VERSION, subject=subject, successor=successor)
    except (LookupError, ValueError) as error:
        raise invalid(
            "successor", f"There is no way from {subject} to {successor}; name another version of it."
        ) from error
    now = clock.now()
    row = DeprecationSchedule(
        kind=SubjectKind.MODEL_VERSION,
        subject=subject,
        successor=successor,
        announce_at=now,
        deprecate_at=now,
        sunset_at=sunset_at,
        reason=reason,
        short_notice_reason=short_notice_reason,
        guide=guide,
        audience=Audience.EVERYONE if version.model.owner_id is None else Audience.USERS,
    )
    subjects.validate(row)
    return schedules.save(row, by=by)
