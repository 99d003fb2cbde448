"""The state Redis stands still in the middle of a call, and runs when it wakes what waits in its sockets: on every face a call
that got its answer is charged what it was told, and one that was told "nothing was charged" is not.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from pytest_django import Settings
from redis.exceptions import TimeoutError as TimedOut

from billing import admission, contracts, late_releases, pricing
from billing.admission import connection, scripts
from billing.admission.scripts import JoinedScript
from billing.metering import ledger as metering_ledger
from billing.models import Price, UsageRecord
from inference.worker import settlement
from mlplatform.lib import redis
from mlplatform.lib.errors import ErrorKind
from mlplatform.lib.redis_link import Link
from tenants import authentication
from tests.conftest import Customer
from tests.parity.conftest import WITHOUT_BATCHES
from tests.parity.faces import Ask, Face, Said
from tests.support import ledger
from tests.support.redis_server import RedisServer
from tests.support.rest import Api
from tests.support.tiny_model import TinyWorker, make_version
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("hasty_redis_clients", "prices", "published_at_once")

Stop = Callable[..., None]
Wake = Callable[[], None]
_OURS: Final = (ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT)


@pytest.fixture(autouse=True)
def models(tiny_worker: TinyWorker) -> TinyWorker:
    """``large`` costs 10 units, cached 1; in a batch 1 and nothing."""
    for name in ("tiny", "large"):
        tiny_worker.serve(make_version(name))
    return tiny_worker


@pytest.fixture
def stop_at(state_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stop]:
    """``stop_at(script, done=…)``: the state Redis stands still from this script's next run on; when ``done`` it did what the
    script says, and only its answer is lost; else the script waits in a socket."""
    real, real_ask = connection.run, Link.ask
    waiting: list[tuple[JoinedScript, bool]] = []

    def unanswered() -> TimedOut:
        state_redis.pause()
        error = TimedOut("Timeout while speaking to the server.")
        error.add_note(redis.UNANSWERED)
        return error

    def run(client: Any, script: JoinedScript, *args: Any, **kwargs: Any) -> Any:
        if not waiting or waiting[0][0] is not script:
            return real(client, script, *args, **kwargs)
        _, done = waiting.pop()
        if not done:
            state_redis.pause()
        answer = real(client, script, *args, **kwargs)
        if done:
            raise unanswered()
        return answer

    def ask(link: Link, packed: bytes, done: Any, **options: Any) -> None:
        """The same on the event loop, where a script goes by its digest."""
        if not waiting or waiting[0][0].sha.encode() not in packed:
            real_ask(link, packed, done, **options)
        elif waiting.pop()[1]:
            real_ask(link, packed, lambda _: done(unanswered()), **options)
        else:
            state_redis.pause()
            real_ask(link, packed, done, **options)

    monkeypatch.setattr(connection, "run", run)
    monkeypatch.setattr(Link, "ask", ask)
    yield lambda script, *, done: waiting.append((script, done))
    state_redis.resume()
    late_releases.forget()


@pytest.fixture
def wake(state_redis: RedisServer, hasty_redis_clients: Callable[[], None]) -> Wake:
    """It runs what waits in its sockets, and what is owed is paid."""

    def awake() -> None:
        state_redis.resume()
        with state_redis.client() as patient:
            patient.ping()
        hasty_redis_clients()
        while late_releases.waiting():
            late_releases.give_back()

    return awake


def drained() -> bool:
    """Whether the ledger has all; beat tries again, too, when a busy machine lets Redis wait."""
    try:
        metering_ledger.drain()
    except redis.FAILURES:
        return False
    return True


def first_call(customer: Customer, face: Face) -> int:
    """The units of a call that is answered; a busy machine can keep Redis from answering these hasty clients in time."""
    until(lambda: face(customer.secret, Ask("large", ("cached",))), lambda said: said.kind is None and not said.kinds)
    while late_releases.waiting():
        late_releases.give_back()
    return ledger.units(customer.tenant)


def assert_charged_as_told(customer: Customer, said: Said, before: int) -> None:
    """The stream, the limits, and then the ledger, which all have what the answer says and no more."""
    told = (said.units or 0) if said.kind is None and not said.kinds else 0
    until(lambda: ledger.holds(customer.tenant), lambda open_holds: open_holds == 0)
    assert ledger.units(customer.tenant) == before + told
    caller = authentication.authenticate(customer.secret, address="127.0.0.1", fresh=True)
    contract = contracts.contract_of(caller)
    states = admission.peek(
        subject=contract.subject, limits=contract.limits, month_to_date=metering_ledger.month_to_date
    ).states
    (month,) = (state for state in states if state.limit.kind == "monthly")
    assert month.remaining == month.limit.amount - before - told
    until(drained, bool)
    assert sum(UsageRecord.objects.values_list("units", flat=True)) == before + told
    answered = 1 + sum(row.kind is None for row in said.rows)
    assert sum(UsageRecord.objects.values_list("inputs", flat=True)) == answered


def assert_refused(said: Said) -> None:
    assert any(said.is_refused_as(kind) for kind in _OURS), said
    assert "nothing was charged" in said.detail


@pytest.mark.parametrize("done", [True, False], ids=["answer lost", "in a socket"])
@pytest.mark.parametrize("text", ["cached", "new"])
def test_the_admission_is_not_answered(
    acme: Customer, face: Face, wake: Wake, stop_at: Stop, text: str, done: bool
) -> None:
    before = first_call(acme, face)
    stop_at(scripts.ADMIT, done=done)
    said = face(acme.secret, Ask("large", (text,)))
    wake()
    assert_refused(said)
    assert_charged_as_told(acme, said, before)


@pytest.mark.parametrize("done", [True, False], ids=["answer lost", "in a socket"])
def test_the_settlement_of_a_mixed_batch_is_not_answered(
    acme: Customer, face_name: str, face: Face, wake: Wake, stop_at: Stop, done: bool
) -> None:
    """One input is cached and one is computed, so the worker settles the one and the web process the other and the fee."""
    if face_name in WITHOUT_BATCHES:
        pytest.skip("it has no batches")
    before = first_call(acme, face)
    stop_at(scripts.SETTLE, done=done)
    said = face(acme.secret, Ask("large", ("cached", "new")))
    wake()
    if face_name.startswith("oip"):
        assert_refused(said)
    else:
        assert [row.kind for row in said.rows] == [ErrorKind.UNAVAILABLE, None]
        assert said.units == 1, "in a batch an input costs 1 and the call 50, which the web process could not settle"
    assert_charged_as_told(acme, said, before)


def test_a_reply_that_is_not_fetched_in_time(
    acme: Customer,
    face: Face,
    models: TinyWorker,
    wake: Wake,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The worker settled; its reply never comes."""
    before = first_call(acme, face)
    settings.PREDICT_TIMEOUT_S = 1.5
    lost = tmp_path / "lost.lua"
    lost.write_text(settlement.REPLY.source.replace("redis.call('RPUSH', KEYS[1], ARGV[1])", ""))
    monkeypatch.setattr(settlement, "REPLY", redis.Script(lost))
    said = face(acme.secret, Ask("large", ("new",)))
    assert models.computed == ["cached", "new"]
    wake()
    assert_refused(said)
    assert_charged_as_told(acme, said, before)


_READS = 'query ($input: PredictionInput!) { predict(model: "large", input: $input) { units } tenant { slug } }'


@pytest.mark.parametrize("done", [True, False], ids=["answer lost", "in a socket"])
@pytest.mark.parametrize("predicts", [True, False])
def test_the_points_of_an_operation_are_not_settled(
    acme: Customer, wake: Wake, stop_at: Stop, predicts: bool, done: bool
) -> None:
    """Beside a prediction, which is paid for, it is answered and costs no points; alone it is refused."""
    Price.objects.create(operation="graphql", per_call=0, per_input=3)
    pricing.forget()
    api = Api(acme)
    stop_at(scripts.SETTLE, done=done)
    query = _READS if predicts else "{ tenant { slug } }"
    answer = api.post("/graphql", {"query": query, "variables": {"input": {"text": "new"}} if predicts else {}})
    wake()
    if predicts:
        assert answer.body["data"] == {"predict": {"units": 10}, "tenant": {"slug": "acme"}}
        assert answer.body["extensions"]["cost"]["actual"] == 10
    else:
        assert "nothing was charged" in answer.body["errors"][0]["message"]
    assert ledger.units(acme.tenant) == (10 if predicts else 0)
    assert ledger.holds(acme.tenant) == 0
