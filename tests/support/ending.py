"""Schedules of ending versions whose announcement or deprecation has passed, on the real clock."""

import datetime as dt
from typing import Any

from mlplatform.lib import clock
from tenants.deprecations import catalogue, schedules
from tenants.models import DeprecationSchedule

DAY = dt.timedelta(days=1)


def make_schedule(
    kind: str = "api_version",
    subject: str = "v1",
    successor: str = "v2",
    *,
    announced_days_ago: float = 40,
    deprecated_days_ago: float = 10,
    sunset_in_days: float = 190,
    **fields: Any,
) -> DeprecationSchedule:
    """A schedule that staff saved, known to this process at once."""
    now = clock.now().replace(microsecond=0)
    row = schedules.save(
        DeprecationSchedule(
            **{
                "kind": kind,
                "subject": subject,
                "successor": successor,
                "announce_at": now - announced_days_ago * DAY,
                "deprecate_at": now - deprecated_days_ago * DAY,
                "sunset_at": now + sunset_in_days * DAY,
                "reason": "Its successor says more.",
                "short_notice_reason": "A test has little time.",
                "guide": "Use the successor.",
                **fields,
            }
        )
    )
    catalogue.forget()
    return row
