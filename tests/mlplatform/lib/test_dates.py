import datetime as dt

from django.template import Context, Template

from mlplatform.lib import dates

PARIS = dt.timezone(dt.timedelta(hours=1))
MOMENT = dt.datetime(2026, 11, 8, 0, 46, 7, 250000, tzinfo=PARIS)


def test_a_moment_is_written_in_one_way_in_utc() -> None:
    assert dates.moment(MOMENT) == "7 Nov 2026, 23:46 UTC"
    assert dates.day(MOMENT) == "7 Nov 2026"
    assert dates.day(dt.date(2026, 11, 28)) == "28 Nov 2026"
    assert dates.exactly(MOMENT) == "7 Nov 2026, 23:46:07.250000 UTC"


def test_templates_write_the_same() -> None:
    shown = Template("{{ moment }} | {{ day }}").render(Context({"moment": MOMENT, "day": dt.date(2026, 1, 2)}))
    assert shown == f"{dates.moment(MOMENT)} | 2 Jan 2026"
