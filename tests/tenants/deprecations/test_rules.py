"""The rules of retirement alone: no database, no face, a clock that is walked."""

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlplatform.lib.errors import ErrorKind
from tenants.deprecations.rules import Deprecation, Ended, Schedule, State, Window, brownout, judge, planned, state

START = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
ACME, GLOBEX = 1, 2

SCHEDULE = Schedule(
    id=7,
    kind="api_version",
    subject="v1",
    announce_at=START,
    deprecate_at=START + 30 * DAY,
    sunset_at=START + 230 * DAY,
    successor="v2",
    guide="/docs/migrate/v1-v2",
)
MOMENTS = st.integers(-100, 500).map(lambda days: START + days * DAY)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Any schedule that the database would take, with brownouts and extensions anywhere."""
    announce, deprecate, sunset = sorted(draw(st.lists(st.integers(0, 400), min_size=3, max_size=3)))
    assume(deprecate < sunset)
    windows = [
        Window(number, START + first * DAY, START + (first + length) * DAY, share, tenant)
        for number, (first, length, share, tenant) in enumerate(
            draw(
                st.lists(
                    st.tuples(
                        st.integers(-10, 410), st.integers(0, 9), st.integers(1, 100), st.sampled_from([None, ACME])
                    ),
                    max_size=3,
                )
            )
        )
    ]
    extensions = draw(st.dictionaries(st.sampled_from([ACME, GLOBEX]), MOMENTS))
    return replace(
        SCHEDULE,
        announce_at=START + announce * DAY,
        deprecate_at=START + deprecate * DAY,
        sunset_at=START + sunset * DAY,
        brownouts=tuple(windows),
        extensions=extensions,
    )


def state_at(schedule: Schedule | None, moment: dt.datetime, tenant_id: int | None = ACME) -> State:
    return state(released_at=START - DAY, schedule=schedule, at=moment, tenant_id=tenant_id)


def judged(schedule: Schedule, moment: dt.datetime, tenant_id: int = ACME, call_id: str = "call") -> Deprecation | None:
    return judge(schedule, at=moment, tenant_id=tenant_id, call_id=call_id)


@given(
    schedule=schedules(),
    moments=st.lists(MOMENTS, min_size=2, max_size=6),
    tenant=st.sampled_from([None, ACME, GLOBEX]),
)
def test_states_only_move_forward(schedule: Schedule, moments: list[dt.datetime], tenant: int | None) -> None:
    order = list(State)
    seen = [order.index(state_at(schedule, moment, tenant)) for moment in sorted(moments)]
    assert seen == sorted(seen)


@given(schedule=schedules(), moment=MOMENTS)
def test_an_extension_only_postpones(schedule: Schedule, moment: dt.datetime) -> None:
    without = replace(schedule, extensions={})
    order = list(State)
    assert schedule.sunset_for(ACME) >= without.sunset_for(ACME) == schedule.sunset_at
    assert order.index(state_at(schedule, moment)) <= order.index(state_at(without, moment))


@given(schedule=schedules(), moment=MOMENTS)
def test_an_extension_is_one_tenants_own(schedule: Schedule, moment: dt.datetime) -> None:
    only_acme = replace(schedule, extensions={ACME: schedule.sunset_at + 90 * DAY})
    assert state_at(only_acme, moment, GLOBEX) is state_at(replace(schedule, extensions={}), moment, GLOBEX)
    assert state_at(only_acme, moment, None) is state_at(schedule, moment, None)


@given(schedule=schedules(), moment=MOMENTS, tenant=st.sampled_from([ACME, GLOBEX]))
def test_what_an_answer_says_agrees_with_the_state(schedule: Schedule, moment: dt.datetime, tenant: int) -> None:
    now = state_at(schedule, moment, tenant)
    ended = None
    try:
        said = judged(schedule, moment, tenant)
    except Ended as error:
        ended, said = error, error.deprecation
    window = brownout(schedule, at=moment, tenant_id=tenant)
    if ended is None:
        assert now is not State.SUNSET
        assert (said is not None) == schedule.announced(moment)
    elif ended.kind is ErrorKind.GONE:
        assert now is State.SUNSET
    else:
        assert window is not None
        assert window.starts_at <= moment < window.ends_at
        assert ended.retry_after_s == (window.ends_at - moment).total_seconds() > 0
        assert now is State.DEPRECATED or window.tenant_id == tenant
    if said is not None:
        assert said.in_force == (moment >= schedule.deprecate_at)
        assert said.deprecated_at < said.sunset_at == schedule.sunset_for(tenant)


def test_the_walk_from_announcement_to_sunset() -> None:
    assert state(released_at=None, schedule=None, at=START) is State.PREVIEW
    assert state(released_at=START, schedule=None, at=START - DAY) is State.PREVIEW
    assert state_at(SCHEDULE, START - DAY) is State.ACTIVE
    assert state_at(SCHEDULE, START) is State.ANNOUNCED
    assert state(released_at=None, schedule=SCHEDULE, at=START) is State.PREVIEW
    said = Deprecation("api_version", "v1", SCHEDULE.deprecate_at, SCHEDULE.sunset_at, "v2", "/docs/migrate/v1-v2")
    assert judged(SCHEDULE, START - dt.timedelta(microseconds=1)) is None
    assert judged(SCHEDULE, START) == replace(said, in_force=False)
    assert state_at(SCHEDULE, SCHEDULE.deprecate_at) is State.DEPRECATED
    assert judged(SCHEDULE, SCHEDULE.deprecate_at) == said
    last_moment = SCHEDULE.sunset_at - dt.timedelta(microseconds=1)
    assert judged(SCHEDULE, last_moment) is not None
    with pytest.raises(
        Ended, match=r"API version v1 ended on 2026-08-23\. Use v2; the guide is at /docs/migrate/v1-v2"
    ) as gone:
        judged(SCHEDULE, SCHEDULE.sunset_at)
    assert gone.value.kind is ErrorKind.GONE
    assert gone.value.extra == {
        "successor": "v2",
        "guide": "/docs/migrate/v1-v2",
        "sunset": "2026-08-23T00:00:00+00:00",
    }


@pytest.mark.parametrize("share", [1, 25, 50, 99])
def test_a_brownout_strikes_its_share(share: int) -> None:
    window = Window(3, START, START + DAY, share)
    struck = sum(window.strikes(f"call-{number}") for number in range(4000))
    assert abs(struck / 4000 - share / 100) < 0.03


@given(share=st.integers(1, 100), call_id=st.text(max_size=40))
def test_a_retry_is_no_lottery_and_a_larger_share_strikes_more(share: int, call_id: str) -> None:
    window = Window(3, START, START + DAY, share)
    assert window.strikes(call_id) == window.strikes(call_id)
    assert replace(window, share=100).strikes(call_id)
    if window.strikes(call_id):
        assert all(replace(window, share=more).strikes(call_id) for more in range(share, 101))


def test_a_rehearsal_strikes_its_tenant_alone_and_before_the_deprecation() -> None:
    window = Window(3, START + DAY, START + 2 * DAY, 100, tenant_id=ACME)
    schedule = replace(SCHEDULE, brownouts=(window,))
    during = START + 1.5 * DAY
    with pytest.raises(Ended, match="rehearsed by your tenant") as ended:
        judged(schedule, during)
    assert ended.value.kind is ErrorKind.BROWNOUT
    assert ended.value.deprecation.in_force is False
    for said in (judged(schedule, during, GLOBEX), judged(schedule, window.ends_at)):
        assert said is not None
        assert said.in_force is False


def test_a_brownout_for_all_waits_for_the_deprecation() -> None:
    schedule = replace(SCHEDULE, brownouts=(Window(3, START, SCHEDULE.sunset_at, 100),))
    said = judged(schedule, START + DAY)
    assert said is not None
    assert said.in_force is False
    with pytest.raises(Ended, match="planned for all tenants"):
        judged(schedule, SCHEDULE.deprecate_at)


def test_of_several_brownouts_the_largest_share_counts() -> None:
    during = SCHEDULE.deprecate_at + DAY
    own = Window(1, SCHEDULE.deprecate_at, during + DAY, 1, tenant_id=ACME)
    shared = Window(2, during, during + DAY, 100)
    schedule = replace(SCHEDULE, brownouts=(own, shared))
    for number in range(20):
        with pytest.raises(Ended, match="planned for all tenants"):
            judged(schedule, during, call_id=f"call-{number}")
    assert brownout(schedule, at=during - DAY / 2, tenant_id=ACME) == own


def test_planned_brownouts_are_of_all_tenants_and_not_over() -> None:
    later, sooner, over, empty, own = (
        Window(1, START + 50 * DAY, START + 51 * DAY, 10),
        Window(2, START + 40 * DAY, START + 41 * DAY, 10),
        Window(3, START, START + DAY, 10),
        Window(4, START + 45 * DAY, START + 45 * DAY, 10),
        Window(5, START + 40 * DAY, START + 41 * DAY, 10, tenant_id=ACME),
    )
    schedule = replace(SCHEDULE, brownouts=(later, sooner, over, empty, own))
    assert planned(schedule, at=START + DAY) == (sooner, later)
