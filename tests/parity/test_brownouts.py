"""A planned brownout refuses with 503 or its like on every face, and is counted apart from failures on each."""

import datetime as dt

import pytest

from mlplatform.lib import clock, redis
from mlplatform.lib.errors import ErrorKind
from mlplatform.observability import traffic
from mlplatform.observability.traffic import Counts
from tenants.deprecations import schedules
from tests.conftest import Customer
from tests.parity.faces import Ask, Face
from tests.support import ledger
from tests.support.impacted import make_schedule
from tests.support.tiny_model import TinyWorker, make_version
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("prices", "published_at_once")

SAID_INSIDE = {"graphql", "grpc-stream"}
"""Their calls are answered: the refusal is that of a field or an item."""


def test_a_brownout_is_no_failure(acme: Customer, tiny_worker: TinyWorker, face: Face, face_name: str) -> None:
    for version in (make_version("tiny"), make_version("tiny", "0.9.0", "ready")):
        tiny_worker.serve(version)
    now = clock.now()
    schedule = make_schedule("tiny@0.9.0", "tiny@1.0.0")
    schedules.plan_brownout(schedule=schedule, starts_at=now, ends_at=now + dt.timedelta(hours=1), share=100, by=None)
    traffic.gather()
    redis.state().delete(*redis.state().keys("traffic:*"), "traffic:")
    said = face(acme.secret, Ask("tiny@0.9.0", ("hello",)))
    refused = said if face_name not in SAID_INSIDE else said.rows[0] if said.rows else said
    assert refused.kind in {None, ErrorKind.BROWNOUT}
    assert ErrorKind.BROWNOUT in {refused.kind, *said.kinds}
    ledger.assert_untouched(acme)
    expected = Counts(answered=1) if face_name in SAID_INSIDE else Counts(brownouts=1)

    def counted() -> Counts:
        traffic.gather()
        return traffic.today().total

    # gRPC counts a call when it has ended, which its client learns a moment before.
    until(counted, lambda found: found.requests > 0)
    assert counted() == expected
