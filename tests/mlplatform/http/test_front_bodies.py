"""Bodies that come slowly, in part, in chunks, too large or not at all: each ends in time, and none holds up another."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.front import UPLOAD, Client, Running, head, running

pytestmark = pytest.mark.processes

CHUNKED = {"Transfer-Encoding": "chunked"}


@pytest.fixture(scope="module")
def front() -> Iterator[Running]:
    with running() as front:
        yield front


@pytest.fixture
def client(front: Running) -> Iterator[Client]:
    with front.client() as client:
        yield client


def framed(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def half_sent(front: Running, wanted: int) -> int:
    """How many bodies the front has a part of, when it is as many as wanted or ten seconds are over."""
    until = time.monotonic() + 10.0
    while (found := front.server._front._bodies.half_sent) != wanted and time.monotonic() < until:
        time.sleep(0.01)
    return found


def test_a_body_in_many_pieces_is_one(client: Client) -> None:
    body = os.urandom(90_000)
    client.send(head("POST", "/x", Content_Length=str(len(body))))
    for start in range(0, len(body), 9_000):
        client.send(body[start : start + 9_000])
        time.sleep(0.01)
    said = client.answer().json
    assert (said["size"], said["sha256"]) == (90_000, hashlib.sha256(body).hexdigest())
    assert said["CONTENT_LENGTH"] == "90000"


def test_chunks_are_one_body_without_a_length(client: Client) -> None:
    client.send(head("POST", "/x", **CHUNKED) + framed(b"one", b"t" * 70_000, b"three"))
    said = client.answer().json
    assert said["size"] == 70_008
    assert said["HTTP_TRANSFER_ENCODING"] == "chunked"
    assert "CONTENT_LENGTH" not in said
    assert client.request("GET", "/x").status == 200, "the connection stays"


@pytest.mark.parametrize("key", ["Bearer mlp_live_x", ""])
def test_hundreds_of_half_sent_bodies_hold_up_no_other_call(key: str) -> None:
    """Eighty for each thread, and none is ended while the test lasts."""
    authorization = {"Authorization": key} if key else {"Cookie": "csrftoken=made-up"}
    path = "/x" if key else "/admin/login/"
    with running(body_grace_s=120.0, body_s=120.0) as front, ExitStack() as stack:
        for _ in range(320):
            silent = stack.enter_context(front.client())
            silent.send(head("POST", path, Content_Length="1000", **authorization) + b"nine byte")
        client = stack.enter_context(front.client())
        for path in ("/livez", "/x", "/readyz") * 10:
            assert client.request("GET", path).status == 200
        assert half_sent(front, 320) == 320


def test_silent_bodies_are_ended(front: Running) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(front.client()) for _ in range(20)]
        for each in silent:
            each.send(head("POST", "/x", Content_Length="1000") + b"nine byte")
        for each in silent:
            answer = each.answer()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json["status"] == 408
            assert each.ended(within_s=5.0)
    assert half_sent(front, 0) == 0
    assert front.server._front._bodies.memory == 0


def test_a_body_that_trickles_is_ended(front: Running, client: Client) -> None:
    """A byte each tenth of a second is less than it must be, but more than nothing."""
    began = time.monotonic()
    client.send(head("POST", "/x", Content_Length="1000"))
    with pytest.raises(OSError):  # noqa: PT011, PT012 - the server has closed the connection
        while time.monotonic() - began < 10.0:
            client.send(b"x")
            time.sleep(0.1)


def test_a_body_that_trickles_in_chunks_is_ended(client: Client) -> None:
    client.send(head("POST", "/x", **CHUNKED) + b"1\r\nx\r\n")
    assert client.answer().status == 408


@pytest.mark.soak
def test_a_body_may_be_slow_but_not_for_ever(client: Client) -> None:
    began = time.monotonic()
    client.send(head("POST", "/x", Content_Length="90000"))
    client.socket.settimeout(0.001)
    status = 0
    while not status and time.monotonic() - began < 12.0:
        client.send(b"x" * 800)  # Fast enough by its rate.
        time.sleep(0.25)
        try:
            status = int(client.socket.recv(100).split()[1])
        except TimeoutError:
            continue
    assert status == 408
    assert time.monotonic() - began > 5.5


def test_a_length_beyond_the_bound_is_refused_before_it_is_read(client: Client) -> None:
    client.send(head("POST", "/x", Content_Length=str(10**15)))
    answer = client.answer()
    assert (answer.status, answer.body, answer.headers["connection"]) == (413, b"large", "close")


def test_a_client_that_sends_all_before_it_looks_sees_the_refusal(client: Client) -> None:
    client.send(head("POST", "/x", Content_Length="5000000"))
    client.send(b"x" * 5_000_000)
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert client.ended(within_s=5.0)


def test_chunks_beyond_the_bound_are_not_read_to_their_end(front: Running, client: Client) -> None:
    client.send(head("POST", "/x", **CHUNKED))
    client.send(framed(*[b"x" * 10_000] * 11)[:-5])
    answer = client.answer()
    assert answer.headers["connection"] == "close"
    assert 100_000 < answer.json["size"] <= 110_000, "the application is given what shows that it is too large"
    client.close()
    assert front.server._front._bodies.memory == 0


def test_a_client_that_waits_to_be_asked_is_asked(client: Client) -> None:
    client.send(head("POST", "/x", Content_Length="5", Expect="100-continue"))
    assert client.answer().status == 100
    client.send(b"hello")
    assert client.answer().json["size"] == 5


def test_a_client_that_waits_to_be_asked_is_refused_at_once(client: Client) -> None:
    client.send(head("POST", "/x", Content_Length="5000000", Expect="100-continue"))
    assert client.answer().status == 413
    assert client.ended(within_s=5.0)


def test_a_client_that_leaves_in_the_middle_leaves_nothing(front: Running, client: Client) -> None:
    client.send(head("POST", "/x", Content_Length="1000") + b"half")
    assert half_sent(front, 1) == 1
    client.close()
    assert half_sent(front, 0) == 0
    assert front.server._front._bodies.memory == 0


@pytest.mark.parametrize("broken", [b"zz\r\n", b"-5\r\nhello\r\n", b"f" * 20 + b"\r\n", b"5\r\nhello and more\r\n"])
def test_broken_chunks(client: Client, broken: bytes) -> None:
    client.send(head("POST", "/x", **CHUNKED) + b"3\r\none\r\n" + broken)
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert answer.headers["content-type"] == "application/problem+json"
    assert client.ended(within_s=5.0)


class TestUploads:
    def test_a_large_one_goes_through_a_file(self, front: Running, client: Client) -> None:
        body = os.urandom(5_000_000)
        said = client.request("POST", UPLOAD, body, Authorization="Bearer good").json
        assert (said["size"], said["sha256"]) == (5_000_000, hashlib.sha256(body).hexdigest())
        assert front.server._front._bodies.memory == 0

    def test_one_in_chunks(self, client: Client) -> None:
        body = os.urandom(3_000_000)
        client.send(head("POST", UPLOAD, Authorization="Bearer good", **CHUNKED))
        client.send(framed(*(body[start : start + 100_000] for start in range(0, len(body), 100_000))))
        said = client.answer().json
        assert (said["size"], said["sha256"]) == (3_000_000, hashlib.sha256(body).hexdigest())

    def test_that_of_a_stranger_is_refused_unread(self, front: Running, client: Client) -> None:
        client.send(head("POST", UPLOAD, Content_Length="7000000", Authorization="Bearer bad"))
        answer = client.answer()
        assert (answer.status, answer.body, answer.headers["connection"]) == (401, b"no", "close")
        client.send(b"x" * 100_000)
        assert front.server._front._bodies.memory == 0

    def test_one_that_waits_to_be_asked_is_refused_unasked(self, client: Client) -> None:
        client.send(head("POST", UPLOAD, Content_Length="7000000", Expect="100-continue"))
        assert client.answer().status == 401

    def test_one_beyond_its_bound(self, client: Client) -> None:
        client.send(head("POST", UPLOAD, Content_Length="9000000", Authorization="Bearer good"))
        assert client.answer().status == 413

    @pytest.mark.soak
    def test_those_that_stay_half_sent_make_room(self, front: Running) -> None:
        with ExitStack() as stack:
            silent = [stack.enter_context(front.client()) for _ in range(4)]
            for number, each in enumerate(silent):
                each.send(
                    head("POST", UPLOAD, Content_Length="7000000", Authorization="Bearer good", X_API_Key=str(number))
                )
                each.send(b"x" * 2_000_000)
            time.sleep(2.3)
            client = stack.enter_context(front.client())
            body = b"y" * 3_000_000
            assert client.request("POST", UPLOAD, body, Authorization="Bearer good").json["size"] == len(body)


@pytest.mark.soak
def test_as_many_of_an_address_as_may_be() -> None:
    """The slowest makes room, unless all have only begun."""
    with running(bodies_per_address=3, body_grace_s=10.0, body_s=20.0) as front, ExitStack() as stack:
        half = [stack.enter_context(front.client()) for _ in range(4)]
        for number, each in enumerate(half[:3]):
            each.send(head("POST", "/x", Content_Length="10000") + b"x" * 100 * (3 - number))
        time.sleep(0.2)
        half[3].send(head("POST", "/x", Content_Length="10000") + b"x")
        answer = half[3].answer()
        assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
        time.sleep(2.2)
        late = stack.enter_context(front.client())
        late.send(head("POST", "/x", Content_Length="10") + b"x")
        assert half[2].answer().status == 503
        late.send(b"x" * 9)
        assert late.answer().json["size"] == 10
        assert half[0].send(b"x" * 9_700).answer().json["size"] == 10_000


def test_as_many_of_a_key_as_may_be() -> None:
    with running(bodies_per_key=1) as front, front.client() as one, front.client() as other, front.client() as third:
        one.send(head("POST", "/x", Content_Length="10", Authorization="Bearer a") + b"x")
        time.sleep(0.1)
        other.send(head("POST", "/x", Content_Length="10", Authorization="Bearer a") + b"x")
        assert other.answer().status == 503
        third.send(head("POST", "/x", Content_Length="10", Authorization="Bearer b") + b"x")
        time.sleep(0.1)
        assert third.send(b"x" * 9).answer().status == 200


def test_memory_for_bodies_has_a_bound() -> None:
    with running(bodies_in_memory=150_000) as front, front.client() as one, front.client() as other:
        one.send(head("POST", "/x", Content_Length="90000") + b"x" * 80_000)
        time.sleep(0.2)
        other.send(head("POST", "/x", Content_Length="90000") + b"x" * 89_000)
        answer = other.answer()
        assert (answer.status, answer.json["type"]) == (
            503, "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
        )  # fmt: skip
        assert one.send(b"x" * 10_000).answer().json["size"] == 90_000
        assert front.server._front._bodies.memory == 0
