"""Where bars lie: nothing leaves the chart, the stretches of a version follow each other, and today is among the months."""

import datetime as dt
import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from billing.metering.version_use import Use
from inference.admin.deprecations.sparkline import sparkline
from inference.admin.deprecations.timeline import Entry, chart
from tenants.deprecations import rules
from tenants.deprecations.rules import Schedule, Window

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def entry(
    *, released: int | None = -20, dates: tuple[int, int, int] | None = None, extension: int = 0, brownout: int = 0
) -> Entry:
    """A version by days from now."""
    schedule = None
    if dates is not None:
        announce, deprecate, sunset = (NOW + days * DAY for days in dates)
        schedule = Schedule(
            1, "api_version", "v1", announce, deprecate, sunset, "v2", "/docs/migrate/v1-v2",
            brownouts=(Window(1, NOW + brownout * DAY, NOW + brownout * DAY + DAY / 12, 50),) if brownout else (),
            extensions={1: NOW + extension * DAY} if extension else {},
        )  # fmt: skip
    released_at = None if released is None else NOW + released * DAY
    state = rules.state(released_at=released_at, schedule=schedule, at=NOW)
    return Entry("api_version", "v1", state, released_at, schedule, Use(0, 0))


def test_a_version_goes_through_its_states_from_left_to_right() -> None:
    drawn = chart([entry(dates=(-5, 30, 220), extension=260, brownout=100)], now=NOW)
    (line,) = drawn.lines
    assert [bar.state for bar in line.bars] == ["active", "announced", "deprecated", "sunset", "extended"]
    assert line.text == (
        "v1: active since 2 Nov 2026; its end announced 17 Nov 2026; deprecated 22 Dec 2026; sunset 30 Jun 2027; "
        "extended for one tenant until 9 Aug 2027 at the latest; brownout of 50 % from 2 Mar 2027, 12:00 UTC to 14:00 UTC."
    )
    assert [moment.text for moment in drawn.coming] == [
        "is deprecated in favour of v2",
        "brownout of 50 % until 14:00 UTC",
        "ends: calls get 410 Gone",
        "ends for a tenant with an extension",
    ]


def test_a_page_of_lines_has_the_months_of_all() -> None:
    ending, other = entry(dates=(-5, 30, 500)), entry()
    drawn, whole = chart([ending, other], now=NOW, shown=[other]), chart([ending, other], now=NOW)
    assert [line.entry for line in drawn.lines] == [other]
    assert (drawn.months, drawn.coming) == (whole.months, whole.coming)


def test_previews() -> None:
    dateless, dated = chart([entry(released=None), entry(released=40)], now=NOW).lines
    assert [bar.state for bar in dateless.bars] == ["preview"]
    assert [bar.state for bar in dated.bars] == ["preview", "active"]


def test_the_months_are_named() -> None:
    drawn = chart([entry()], now=NOW)
    texts = [month.text for month in drawn.months]
    assert texts[:6] == ["Sep", "Oct", "Nov", "Dec", "Jan", "Feb"]
    assert [month.year for month in drawn.months][:6] == ["2026", "", "", "", "2027", ""]


DAYS = st.integers(-800, 1500)


@given(
    released=st.none() | DAYS,
    dates=st.none() | st.lists(DAYS, min_size=3, max_size=3, unique=True).map(lambda found: tuple(sorted(found))),
    extension=DAYS,
    brownout=DAYS,
)
@example(released=None, dates=(-1, 0, 1), extension=547, brownout=0)  # A sum of rounded numbers is not rounded.
def test_nothing_leaves_the_chart(
    released: int | None, dates: tuple[int, int, int] | None, extension: int, brownout: int
) -> None:
    one = entry(released=released, dates=dates, extension=extension, brownout=brownout)
    drawn = chart([one, entry()], now=NOW)
    assert 0 <= drawn.today <= 100
    bars = [bar for bar in drawn.lines[0].bars if bar.state != "extended"]
    for bar in drawn.lines[0].bars:
        assert 0 <= bar.left <= 100
        assert bar.width > 0
        assert bar.left + bar.width <= 100.01
    for before, after in itertools.pairwise(bars):
        assert before.left + before.width <= after.left + 0.01
    for tick in drawn.lines[0].ticks:
        assert 0 <= tick.left <= 100
    under_today = [bar.state for bar in bars if bar.left <= drawn.today < round(bar.left + bar.width, 3)]
    if under_today and one.state != "preview":
        known = one.state == "active" and one.schedule is not None and one.schedule.announced(NOW)
        assert under_today == ["announced" if known else one.state]
    assert abs(sum(month.width for month in drawn.months) - 100) < 0.1


@given(st.lists(st.integers(0, 10**9), min_size=30, max_size=30))
def test_a_sparkline_stays_in_its_box(values: list[int]) -> None:
    days = [NOW.date() - back * DAY for back in range(29, -1, -1)]
    line = sparkline(values, days=days)
    points = [tuple(map(float, point.split(","))) for point in line.line.split()]
    assert len(points) == 30
    assert all(0 <= x <= line.width and 0 <= y <= line.height for x, y in points)
    assert (line.text == "No calls.") == (not any(values))
