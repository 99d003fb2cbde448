"""When people are told: late rather than never, once rather than twice, and never after the end."""

import datetime as dt
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from inference.deprecations.notices import moments
from inference.deprecations.notices.moments import Moment, MomentKind
from tenants.deprecations.rules import Schedule, Window

NOW = dt.datetime(2027, 1, 4, 9, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
MINUTE = dt.timedelta(minutes=1)
TENANT = 7


def v1_ends(*, days: float = 230, brownouts: tuple[Window, ...] = (), extension: dt.datetime | None = None) -> Schedule:
    """Announced at NOW, ended ``days`` later."""
    return Schedule(
        id=1,
        kind="api_version",
        subject="v1",
        announce_at=NOW,
        deprecate_at=NOW + min(30.0, days / 2) * DAY,
        sunset_at=NOW + days * DAY,
        successor="v2",
        guide="/docs/migrate/v1-v2",
        brownouts=brownouts,
        extensions={TENANT: extension} if extension else {},
    )


def names(found: list[Moment]) -> list[str]:
    return [moment.name for moment in found]


def test_each_moment_comes_at_its_time() -> None:
    schedule = v1_ends()
    assert moments.due(schedule, NOW - MINUTE) == []
    assert names(moments.due(schedule, NOW)) == ["announcement"]
    for before, days in ((["announcement"], 90), (["announcement", "90d"], 30), (["announcement", "30d"], 7)):
        moment = schedule.sunset_at - days * DAY
        assert names(moments.due(schedule, moment - MINUTE)) == before
        assert names(moments.due(schedule, moment)) == ["announcement", f"{days}d"]
    assert names(moments.due(schedule, schedule.sunset_at - DAY)) == ["announcement", "1d"]
    assert names(moments.due(schedule, schedule.sunset_at - MINUTE)) == ["announcement", "1d"]
    assert moments.due(schedule, schedule.sunset_at) == []


def test_a_schedule_announced_late_has_only_the_steps_that_are_left() -> None:
    assert names(moments.countdown(v1_ends(days=20))) == ["7d", "1d"]
    assert names(moments.countdown(v1_ends(days=7))) == ["1d"], "the announcement itself says it a week before"
    assert names(moments.due(v1_ends(days=20), NOW + DAY)) == ["announcement"]


def test_who_has_an_extension_counts_down_to_its_own_end() -> None:
    until = NOW + 300 * DAY
    schedule = v1_ends(extension=until)
    assert names(moments.due(schedule, schedule.sunset_at - DAY, TENANT)) == ["announcement", "90d:2027-10-31"]
    assert names(moments.due(schedule, schedule.sunset_at - DAY, TENANT + 1)) == ["announcement", "1d"]
    assert names(moments.due(schedule, until - DAY, TENANT)) == ["announcement", "1d:2027-10-31"]
    assert moments.due(schedule, until - DAY, TENANT + 1) == []
    assert moments.due(schedule, until, TENANT) == []


def test_a_brownout_is_told_a_day_before_until_it_is_over() -> None:
    start = NOW + 60 * DAY
    schedule = v1_ends(brownouts=(Window(4, start, start + 10 * MINUTE, 50),))
    assert "brownout:4" not in names(moments.due(schedule, start - DAY - MINUTE))
    for at in (start - DAY, start, start + 9 * MINUTE):
        assert "brownout:4" in names(moments.due(schedule, at))
    assert "brownout:4" not in names(moments.due(schedule, start + 10 * MINUTE))


def test_rehearsals_and_brownouts_that_never_began_are_not_told() -> None:
    start = NOW + 60 * DAY
    rehearsed = Window(4, start, start + 10 * MINUTE, 50, tenant_id=TENANT)
    stopped = Window(5, start, start, 50)
    schedule = v1_ends(brownouts=(rehearsed, stopped))
    assert names(moments.due(schedule, start - MINUTE, TENANT)) == ["announcement"]


def test_names_are_told_to_people() -> None:
    assert [moments.label(name) for name in ("announcement", "30d", "1d", "brownout:4", "message:ab")] == [
        "announcement",
        "30 days before",
        "1 day before",
        "before a brownout",
        "a message",
    ]
    assert moments.label("7d:2027-10-31") == "7 days before its own end on 31 Oct 2027"


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    days = draw(st.floats(0.5, 400))
    windows = tuple(
        Window(number, NOW + start * DAY, NOW + (start + draw(st.floats(0, 1))) * DAY, 50)
        for number, start in enumerate(draw(st.lists(st.floats(0, days), max_size=3)))
    )
    later = draw(st.none() | st.floats(0, 200))
    return v1_ends(days=days, brownouts=windows, extension=None if later is None else NOW + (days + later) * DAY)


@given(schedule=schedules(), visits=st.lists(st.floats(-10, 650), min_size=1, max_size=30))
def test_however_beat_comes_and_goes_everything_is_told_once_and_nothing_that_is_untrue(
    schedule: Schedule, visits: list[float]
) -> None:
    sunset = schedule.sunset_for(TENANT)
    told: list[tuple[dt.datetime, Moment]] = []
    for at in [NOW + visit * DAY for visit in sorted(visits)]:
        known = {moment.name for _, moment in told}
        new = [moment for moment in moments.due(schedule, at, TENANT) if moment.name not in known]
        assert Counter(moment.kind for moment in new)[MomentKind.COUNTDOWN] <= 1
        told += [(at, moment) for moment in new]
    assert len({moment.name for _, moment in told}) == len(told)
    for at, moment in told:
        assert schedule.announce_at <= moment.at <= at < sunset
        if moment.kind is MomentKind.COUNTDOWN:
            assert at >= sunset - moment.days * DAY
        if moment.window is not None:
            assert at < moment.window.ends_at
    counted = [moment.days for _, moment in told if moment.kind is MomentKind.COUNTDOWN]
    assert counted == sorted(counted, reverse=True), "a countdown never goes back"


@given(schedule=schedules())
def test_a_beat_that_never_fails_tells_all(schedule: Schedule) -> None:
    every = [*moments.countdown(schedule, TENANT), *moments.brownouts(schedule)]
    sunset = schedule.sunset_for(TENANT)
    told = {moment.name for step in every if step.at < sunset for moment in moments.due(schedule, step.at, TENANT)}
    # Two steps may share a moment; then each of them is due at it, but for a window that is over when it is announced.
    assert {step.name for step in every if step.at < sunset and step.kind is MomentKind.COUNTDOWN} <= told
    assert {s.name for s in every if s.window and s.at < min(sunset, s.window.ends_at)} <= told
