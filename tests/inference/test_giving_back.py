"""Holds whose release failed are given back when Redis answers, and not before."""

from collections.abc import Iterator

import pytest

from billing import admission
from billing.admission import Charge, Limit, LimitKind, Subject
from inference import giving_back
from tests.support.redis_server import RedisServer

LIMIT = Limit(
    id="c", name="concurrent", kind=LimitKind.CONCURRENCY, counts="requests", scope="tenant", subject="", amount=10
)
SUBJECT = Subject(tenant_id=7, shard=3, key_id="k", tenant_version=1, key_version=1)


def _no_month(limit: Limit, subject: Subject) -> int:
    return 0


@pytest.fixture(autouse=True)
def nothing_waits() -> Iterator[None]:
    giving_back.forget()
    yield
    giving_back.forget()


def hold() -> tuple[str, ...]:
    """One granted hold."""
    charge = Charge(hold_id="hold-1", model="m", units=1, requests=1, record=b"\x80")
    decision = admission.admit(
        subject=SUBJECT, limits=[LIMIT], charges=[charge], request_id="r", hold_ttl_s=60.0, month_to_date=_no_month
    )
    assert decision.granted
    return decision.hold_ids


def remaining() -> int:
    return admission.peek(subject=SUBJECT, limits=[LIMIT], month_to_date=_no_month).states[0].remaining


def test_it_is_tried_until_redis_answers(state_redis: RedisServer) -> None:
    ids = hold()
    state_redis.stop()
    giving_back.later(tenant_id=7, shard=3, hold_ids=ids, within_s=60.0)
    giving_back.give_back()
    state_redis.start()
    assert remaining() == 9
    giving_back.give_back()
    assert remaining() == 10


def test_a_hold_that_has_ended_by_itself_is_left_alone() -> None:
    ids = hold()
    giving_back.later(tenant_id=7, shard=3, hold_ids=ids, within_s=0.0)
    giving_back.give_back()
    assert remaining() == 9
