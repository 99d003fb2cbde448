"""What the form of a schedule is sent with."""

import datetime as dt

from mlplatform.lib import clock
from tenants.models import DeprecationSchedule
from tests.support import staff
from tests.support.impacted import DAY, GUIDE

INLINES = ("brownouts", "extensions", "brownouts-2")


def split(name: str, moment: dt.datetime) -> dict[str, str]:
    """A moment as the two inputs of the admin."""
    return {f"{name}_0": f"{moment:%Y-%m-%d}", f"{name}_1": f"{moment:%H:%M:%S}"}


def form(**more: str) -> dict[str, str]:
    now = clock.now()
    return {
        "subject": "v1",
        "successor": "v2",
        **split("announce_at", now),
        **split("deprecate_at", now + 30 * DAY),
        **split("sunset_at", now + 230 * DAY),
        "reason": "v2 says more.",
        "short_notice_reason": "",
        "guide": GUIDE,
        "audience": "everyone",
        **more,
    }


def change_form(schedule: DeprecationSchedule, **more: str) -> dict[str, str]:
    kept = form(
        **split("announce_at", schedule.announce_at),
        **split("deprecate_at", schedule.deprecate_at),
        **split("sunset_at", schedule.sunset_at),
    )
    return {**kept, **staff.no_rows(*INLINES), **more}


def whole(moment: dt.datetime) -> dt.datetime:
    return moment.replace(microsecond=0)
