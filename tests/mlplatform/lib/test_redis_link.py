"""The connection that all calls of the loop share: answers in order, each question's own time, and a server that goes."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import hiredis
import pytest
from pytest_django import Settings
from redis.exceptions import AuthenticationError, ResponseError

from billing.admission import Charge, LimitKind, Settled, Settlement, Subject, Unanswered, on_loop, scripts
from billing.admission.on_loop import Admission
from inference.cache import links
from mlplatform.lib import event_loop, redis, redis_link
from mlplatform.lib.redis import Script, may_be_done
from mlplatform.lib.redis_link import Answers, Link, packed
from tests.billing.admission.world import limit
from tests.support.redis_server import RedisServer
from tests.support.windows import AGES_S

WAIT_S = 30.0
PATIENCE_S = 1.5
SUBJECT = Subject(shard=3, tenant_id=7, tenant_version=0, key_id="key", key_version=0)

pytestmark = pytest.mark.usefixtures("links_of_this_test")


@pytest.fixture
def links_of_this_test() -> Iterator[None]:
    yield
    redis_link.forget()


@pytest.fixture
def link(state_redis: RedisServer) -> Iterator[Link]:
    link = event_loop.call(lambda: Link(state_redis.url, patience_s=PATIENCE_S))
    yield link
    event_loop.call(link.close)


class Asked:
    """A question, and what came of it: how often, and whether on the loop."""

    def __init__(self) -> None:
        self.answers: list[Answers | Exception] = []
        self.on_loop = True
        self._told = threading.Event()

    def done(self, answers: Answers | Exception) -> None:
        self.answers.append(answers)
        self.on_loop = self.on_loop and event_loop.is_current()
        self._told.set()

    @property
    def answer(self) -> Answers | Exception:
        assert self._told.wait(WAIT_S), "no answer and no failure"
        assert len(self.answers) == 1
        assert self.on_loop
        return self.answers[0]

    @property
    def found(self) -> Answers:
        answer = self.answer
        assert isinstance(answer, list), answer
        return answer

    @property
    def failure(self) -> Exception:
        answer = self.answer
        assert isinstance(answer, Exception), answer
        return answer


def ask(link: Link, *commands: tuple[str | bytes, ...]) -> list[Asked]:
    """Each its own question, all in one turn of the loop."""
    asked = [Asked() for _ in commands]

    def turn() -> None:
        for command, each in zip(commands, asked, strict=True):
            link.ask(packed(*command), each.done)

    event_loop.call(turn)
    return asked


def test_what_one_turn_asks_is_answered_in_order(link: Link) -> None:
    asked = ask(link, *(("ECHO", str(number)) for number in range(500)))
    assert [each.answer for each in asked] == [[str(number).encode()] for number in range(500)]


def test_a_question_may_have_several_answers_between_those_with_one(link: Link) -> None:
    asked = [Asked() for _ in range(3)]

    def turn() -> None:
        link.ask(packed("SET", "n", "1"), asked[0].done)
        link.ask(packed("INCR", "n") + packed("INCR", "n") + packed("GET", "n"), asked[1].done, answers=3)
        link.ask(packed("GET", "none"), asked[2].done)

    event_loop.call(turn)
    assert [each.answer for each in asked] == [[b"OK"], [2, 3, b"3"], [None]]


def test_an_error_stands_in_the_place_of_its_answer(link: Link) -> None:
    asked = Asked()
    commands = packed("SET", "text", "x") + packed("INCR", "text") + packed("GET", "text")
    event_loop.call(lambda: link.ask(commands, asked.done, answers=3))
    first, second, third = asked.found
    assert (first, third) == (b"OK", b"x")
    assert isinstance(second, ResponseError)
    assert [each.answer for each in ask(link, ("GET", "text"))] == [[b"x"]]


def test_corked_questions_leave_when_they_are_flushed_or_with_the_next_one(link: Link) -> None:
    asked = [Asked() for _ in range(3)]

    def flushed() -> None:
        link.ask(packed("ECHO", "0"), asked[0].done, corked=True)
        link.flush()

    event_loop.call(flushed)
    assert asked[0].answer == [b"0"]
    event_loop.call(lambda: link.ask(packed("ECHO", "1"), asked[1].done, corked=True))
    event_loop.call(lambda: None)
    assert asked[1].answers == []
    event_loop.call(lambda: link.ask(packed("ECHO", "2"), asked[2].done))
    assert [each.answer for each in asked[1:]] == [[b"1"], [b"2"]]


def test_large_answers_and_questions_arrive_whole(link: Link) -> None:
    large = b"x" * 3_000_000
    asked = ask(link, ("SET", "large", large), ("GET", "large"), ("ECHO", "after"))
    assert [each.answer for each in asked] == [[b"OK"], [large], [b"after"]]


def fail(_: object) -> None:
    raise KeyError("a mistake")


def test_what_goes_wrong_with_an_answer_concerns_no_other(link: Link, caplog: pytest.LogCaptureFixture) -> None:
    after = Asked()

    def turn() -> None:
        link.ask(packed("PING"), fail)
        link.ask(packed("ECHO", "after"), after.done)

    event_loop.call(turn)
    assert after.answer == [b"after"]
    assert "what waited for a Redis server's answer failed" in caplog.text


def test_a_server_that_closed_the_connection_is_asked_once_more(link: Link, state_redis: RedisServer) -> None:
    assert [each.answer for each in ask(link, ("INCR", "n"))] == [[1]]
    state_redis.client().client_kill_filter(_type="normal", skipme=True)
    assert [each.answer for each in ask(link, ("INCR", "n"), ("ECHO", "x"))] == [[2], [b"x"]]


def test_a_server_that_closes_it_again_and_again_is_asked_twice_and_no_more() -> None:
    asked: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=close_on_echo, args=(listener, asked), daemon=True)
        thread.start()
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        link = event_loop.call(lambda: Link(url, patience_s=WAIT_S))
        failure = ask(link, ("ECHO", "x"))[0].failure
        assert may_be_done(failure)
        assert asked == [[b"ECHO", b"x"]] * 2
        event_loop.call(link.close)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(WAIT_S)


def close_on_echo(listener: socket.socket, asked: list[Any]) -> None:
    """A server that says OK to everything but an echo."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                reader = hiredis.Reader()
                while data := connection.recv(65_536):
                    reader.feed(data)
                    while command := reader.gets():
                        if command[0] == b"ECHO":
                            asked.append(command)
                            break
                        connection.sendall(b"+OK\r\n")
                    else:
                        continue
                    break


def test_a_server_that_stalls_fails_all_at_once_and_answers_when_it_is_back(
    link: Link, state_redis: RedisServer
) -> None:
    assert [each.answer for each in ask(link, ("SET", "n", "0"))] == [[b"OK"]]
    state_redis.pause()
    try:
        first = ask(link, ("INCR", "n"))
        second = ask(link, *[("INCR", "n")] * 20)
        failures = [each.failure for each in [*first, *second]]
        assert all(may_be_done(failure) for failure in failures)
        later = ask(link, ("INCR", "n"))[0].failure
        assert not may_be_done(later), "the new connection was never open"
    finally:
        state_redis.resume()
    (after,) = ask(link, ("GET", "n"))
    (value,) = after.found
    assert 0 <= int(value) <= 21, "what was sent may have been done, what was not has not"


def test_a_server_that_is_away_is_a_failure_that_did_nothing(link: Link, state_redis: RedisServer) -> None:
    state_redis.stop()
    failures = [each.failure for each in ask(link, ("PING",), ("PING",))]
    assert all(isinstance(failure, redis.FAILURES) and not may_be_done(failure) for failure in failures)
    state_redis.start()
    assert [each.answer for each in ask(link, ("PING",))] == [[b"PONG"]]


def test_a_close_fails_what_waits(link: Link, state_redis: RedisServer) -> None:
    assert [each.answer for each in ask(link, ("PING",))] == [[b"PONG"]]
    state_redis.pause()
    try:
        asked = ask(link, ("PING",))
        event_loop.call(lambda: None)
        event_loop.call(link.close)
        assert may_be_done(asked[0].failure)
    finally:
        state_redis.resume()
    assert [each.answer for each in ask(link, ("PING",))] == [[b"PONG"]], "the next question opens it anew"


def test_a_password_that_is_not_the_servers_is_said(state_redis: RedisServer) -> None:
    url = state_redis.url.replace(state_redis.password, "another")
    link = event_loop.call(lambda: Link(url, patience_s=5.0))
    failure = ask(link, ("PING",))[0].failure
    assert isinstance(failure, AuthenticationError)
    event_loop.call(link.close)


@pytest.mark.parametrize("query", ["?socket_timeout=9&client_name=mine", "?protocol=3&client_name=mine"])
def test_what_the_url_says_holds(state_redis: RedisServer, query: str) -> None:
    link = event_loop.call(lambda: Link(state_redis.url + query, patience_s=5.0))
    name, hashed = ask(link, ("CLIENT", "GETNAME"), ("HSET", "h", "a", "1"))
    assert (name.answer, hashed.answer) == ([b"mine"], [1])
    event_loop.call(link.close)


def test_one_link_for_a_server(state_redis: RedisServer) -> None:
    link_to = partial(redis_link.link_to, state_redis.url)
    first, again, other = event_loop.call(
        lambda: (link_to(patience_s=5.0), link_to(patience_s=5.0), link_to(patience_s=4.0))
    )
    assert first is again
    assert first is not other


@pytest.mark.parametrize("flush", [False, True])
def test_a_script_that_the_cache_does_not_know_is_sent(tmp_path: Path, flush: bool) -> None:
    path = tmp_path / "add.lua"
    path.write_text("return {redis.call('INCRBY', KEYS[1], ARGV[1]), ARGV[1]}")
    script = Script(path)
    for times in (1, 2):
        if flush:
            redis.cache().script_flush()
        asked = Asked()
        event_loop.call(partial(links.run, script, [b"n"], [b"3"], asked.done))
        assert asked.answer == [[3 * times, b"3"]]


def of_loop(begin: Callable[[Callable[[Any], None]], None]) -> Any:
    """What ``begin`` gives to its callback."""
    got: list[Any] = []
    told = threading.Event()

    def done(outcome: Any) -> None:
        got.append(outcome)
        told.set()

    event_loop.call(lambda: begin(done))
    assert told.wait(WAIT_S)
    return got[0]


def admitted(done: Callable[[Any], None], *, charges: Sequence[Charge]) -> None:
    day = limit(LimitKind.FIXED_WINDOW, 100, window_s=AGES_S)
    on_loop.admit(Admission(SUBJECT, (day,), tuple(charges), "request", 30.0, False, done))


def test_scripts_of_admission_survive_a_server_that_forgot_them() -> None:
    for number in range(2):
        redis.state().script_flush()
        charge = Charge(f"hold-{number}", "large", 10, 1, b"record")
        assert of_loop(partial(admitted, charges=[charge])).granted
    assert redis.state().script_exists(scripts.ADMIT.sha) == [True]
    redis.state().script_flush()
    holds = [Settlement("hold-0"), Settlement("hold-1", 3), Settlement("none")]
    settle = partial(on_loop.settle, shard=SUBJECT.shard, tenant_id=SUBJECT.tenant_id, holds=holds)
    assert of_loop(lambda done: settle(done=done)) == (Settled.NOW, Settled.NOW, Settled.GONE)


def test_an_admission_without_an_answer_says_so(settings: Settings, state_redis: RedisServer) -> None:
    settings.REDIS_TIMEOUT_S = PATIENCE_S
    assert of_loop(partial(admitted, charges=[Charge("hold-0", "large", 10, 1, b"record")])).granted
    state_redis.pause()
    try:
        outcome = of_loop(partial(admitted, charges=[Charge("hold-1", "large", 10, 1, b"record")]))
    finally:
        state_redis.resume()
    assert isinstance(outcome, Unanswered)
