"""Days and moments as the public pages write them, in UTC."""

import datetime as dt

from django.utils import dateformat


def day(at: dt.datetime) -> str:
    """``30 June 2027``."""
    return dateformat.format(at.astimezone(dt.UTC), "j F Y")


def moment(at: dt.datetime) -> str:
    """``30 June 2027, 23:59 UTC``."""
    return dateformat.format(at.astimezone(dt.UTC), "j F Y, H:i \\U\\T\\C")
