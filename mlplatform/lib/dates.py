"""Days and moments in the one way that all pages write them: ``28 Nov 2026, 16:46 UTC``.

Django's templates write the same by ``mlplatform/formats``.
"""

import datetime as dt


def day(value: dt.date) -> str:
    """Such as ``28 Nov 2026``; of a moment its day in UTC."""
    if isinstance(value, dt.datetime):
        value = value.astimezone(dt.UTC)
    return f"{value.day} {value:%b %Y}"


def moment(value: dt.datetime) -> str:
    """Such as ``28 Nov 2026, 16:46 UTC``."""
    value = value.astimezone(dt.UTC)
    return f"{day(value)}, {value:%H:%M} UTC"


def exactly(value: dt.datetime) -> str:
    """The same to the microsecond, such as ``28 Nov 2026, 16:46:07.250000 UTC``."""
    value = value.astimezone(dt.UTC)
    return f"{day(value)}, {value:%H:%M:%S.%f} UTC"
