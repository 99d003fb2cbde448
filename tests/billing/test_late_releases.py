"""Holds whose release failed are taken back when Redis answers, and not before."""

from collections.abc import Iterator

import pytest

from billing import admission, late_releases
from billing.admission import Charge, Limit, LimitKind, Subject
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.support.redis_server import RedisServer

LIMITS = (
    Limit(id="c", name="running", kind=LimitKind.CONCURRENCY, counts="requests", scope="tenant", subject="", amount=10),
    Limit(id="m", name="monthly", kind=LimitKind.MONTHLY, counts="units", scope="tenant", subject="", amount=1000),
)
SUBJECT = Subject(tenant_id=7, shard=3, key_id="k", tenant_version=1, key_version=1)


def _no_month(limit: Limit, subject: Subject) -> int:
    return 0


@pytest.fixture(autouse=True)
def nothing_waits() -> Iterator[None]:
    late_releases.forget()
    yield
    late_releases.forget()


def hold(*names: str, settle_now: bool = False) -> tuple[str, ...]:
    """A granted hold of 5 units for each name."""
    charges = [Charge(hold_id=name, model="m", units=5, requests=1, record=b"\x80") for name in names]
    decision = admission.admit(
        subject=SUBJECT,
        limits=LIMITS,
        charges=charges,
        request_id="r",
        hold_ttl_s=60.0,
        settle_now=settle_now,
        month_to_date=_no_month,
    )
    assert decision.granted
    return decision.hold_ids


def remaining() -> list[int]:
    decision = admission.peek(subject=SUBJECT, limits=LIMITS, month_to_date=_no_month)
    return [state.remaining for state in decision.states]


def test_it_is_tried_until_redis_answers(state_redis: RedisServer) -> None:
    held = hold("hold-1")
    metered = hold("hold-2", settle_now=True)
    state_redis.stop()
    late_releases.owe(SUBJECT, [*held, *metered])
    late_releases.give_back()
    state_redis.start()
    assert remaining() == [9, 990]
    late_releases.give_back()
    assert remaining() == [10, 1000]
    late_releases.give_back()
    assert remaining() == [10, 1000]


def test_many_holds_go_back_in_runs_of_a_bounded_size() -> None:
    names = hold(*(f"hold-{number}" for number in range(10)))
    unknown = [f"never-admitted-{number}" for number in range(600)]
    late_releases.owe(SUBJECT, [*unknown, *names])
    late_releases.give_back()
    assert remaining() == [10, 1000]


def test_nothing_is_admitted_while_too_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_releases, "MOST", 2)
    late_releases.owe(SUBJECT, ["hold-1"])
    late_releases.require_room()
    late_releases.owe(SUBJECT, ["hold-2"])
    with pytest.raises(PlatformError) as caught:
        late_releases.require_room()
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    late_releases.give_back()
    late_releases.require_room()
