"""The scripts' calendar is Python's."""

import datetime as dt

from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from billing.admission.scripts import JoinedScript
from tests.billing.admission.world import SECOND, World
from tests.support.examples import examples

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)


class Calendar(JoinedScript):
    """Answers the month of a moment, and the first microsecond of that month and of the next."""

    def __init__(self) -> None:
        super().__init__("admit.lua", libraries=("time.lua", "calendar.lua"))
        libraries = "\n".join((self.path.parent / name).read_text() for name in self.libraries)
        self.__dict__["source"] = (
            libraries
            + "\nlocal month = month_of(tonumber(ARGV[1]))"
            + "\nreturn {month, month_start(month), month_start(month + 1)}"
        )


CALENDAR = Calendar()


@examples(400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moment=st.integers(0, (dt.datetime(2254, 12, 31, tzinfo=dt.UTC) - EPOCH) // MICROSECOND).map(
        lambda microseconds: EPOCH + microseconds * MICROSECOND
    )
)
@example(moment=dt.datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=dt.UTC))
@example(moment=dt.datetime(2026, 3, 1, tzinfo=dt.UTC))
@example(moment=dt.datetime(2100, 2, 28, 23, 59, 59, tzinfo=dt.UTC))
@example(moment=dt.datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC))
@example(moment=dt.datetime(2027, 1, 1, tzinfo=dt.UTC))
def test_month_and_its_ends_are_those_of_python(world: World, moment: dt.datetime) -> None:
    microseconds = (moment - EPOCH) // MICROSECOND
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + dt.timedelta(days=32)).replace(day=1)
    assert CALENDAR.run(world.client, (), (str(microseconds),)) == [
        moment.year * 12 + moment.month - 1,
        (first - EPOCH) // MICROSECOND,
        (following - EPOCH) // MICROSECOND,
    ]


def test_microseconds_are_exact_to_the_end_of_the_calendar(world: World) -> None:
    assert dt.datetime(2255, 1, 1, tzinfo=dt.UTC).timestamp() * SECOND < 2**53
