"""What a door hands on late, when more has come on the connection: the application has it as if it had come at once."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from mlplatform.http.answers import Answer
from mlplatform.http.asked import Asked
from mlplatform.http.door import Door
from tests.support.front import LIMITS, Running, application, head
from tests.support.waiting import until

pytestmark = pytest.mark.processes

LATE_S = 0.1


class HandsOn(Door):
    """Takes every call, and hands it on later."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.late_s = LATE_S

    def take(self, asked: Asked, *, reply: Callable[[Answer], None], hand_on: Callable[[], None]) -> bool:
        self.taken.append(bytes(asked.body))
        asyncio.get_running_loop().call_later(self.late_s, hand_on)
        return True


@pytest.fixture
def front() -> Iterator[tuple[Running, HandsOn]]:
    door = HandsOn()
    running = Running(replace(LIMITS, head_s=20.0), application=application, door=door)
    running.start()
    yield running, door
    running.stop()


def call(number: int, **headers: str) -> bytes:
    body = b"%d" % number * number
    return head("POST", "/v2/predict", **{"Content-Length": str(len(body)), "X-Number": str(number)}, **headers) + body


def test_each_is_answered_in_its_turn(front: tuple[Running, HandsOn]) -> None:
    running, door = front
    fourth = call(4)
    with running.client() as client:
        client.send(call(1) + call(2) + call(3) + fourth[:50])
        answers = [client.answer() for _ in range(3)]
        answers.append(client.send(fourth[50:]).answer())
        assert client.request("GET", "/livez").status == 200
    assert door.taken == [b"1", b"22", b"333", b"4444"]
    for number, answer in enumerate(answers, 1):
        assert (answer.status, answer.json["size"], answer.json["HTTP_X_NUMBER"]) == (200, number, str(number))
        assert answer.json["PATH_INFO"] == "/v2/predict"


def test_the_end_of_the_connection_is_the_clients(front: tuple[Running, HandsOn]) -> None:
    running, _ = front
    with running.client() as client:
        answer = client.send(call(1, Connection="close")).answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert client.ended(within_s=5.0)


def test_a_client_that_left_meanwhile_keeps_nothing_waiting(front: tuple[Running, HandsOn]) -> None:
    running, door = front
    with running.client() as client:
        client.send(call(1) + call(2))
    with running.client() as client:
        assert client.send(call(3)).answer().json["size"] == 3
    assert door.taken[0] == b"1"


def test_a_large_body_behind_a_call_waits_for_its_turn(front: tuple[Running, HandsOn]) -> None:
    running, door = front
    large = b"x" * 90_000
    with running.client() as client:
        client.send(call(1) + head("POST", "/anything", **{"Content-Length": str(len(large))}) + large)
        answers = [client.answer(), client.answer()]
    assert [answer.json["size"] for answer in answers] == [1, 90_000]
    assert door.taken == [b"1"]


def test_a_process_that_drains_answers_what_is_at_the_door(front: tuple[Running, HandsOn]) -> None:
    running, door = front
    door.late_s = 2.0  # The drain begins before, and may take longer.
    with running.client() as client:
        client.send(call(1))
        until(lambda: door.taken, bool)
        running.server.stop()
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert client.ended(within_s=5.0)
