"""Connections: what clients may do with them, how long, how many, and how a process lets go of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.support.front import FILE_BYTES, LARGE, LIMITS, Client, Running, head, running
from tests.support.waiting import until

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def front() -> Iterator[Running]:
    with running() as front:
        yield front


@pytest.fixture
def client(front: Running) -> Iterator[Client]:
    with front.client() as client:
        yield client


def test_one_connection_carries_many_requests(client: Client) -> None:
    for number in range(20):
        assert client.request("POST", "/x", b"x" * number).json["size"] == number


def test_requests_sent_at_once_are_answered_in_their_order(client: Client) -> None:
    client.send(b"".join(head("POST", f"/{number}", Content_Length="2") + b"ab" for number in range(30)))
    assert [client.answer().json["PATH_INFO"] for _ in range(30)] == [f"/{number}" for number in range(30)]


def test_head_has_no_body(client: Client) -> None:
    for path, length in (("/file", FILE_BYTES), ("/large", len(LARGE))):
        answer = client.request("HEAD", path)
        assert (answer.status, answer.headers["content-length"]) == (200, str(length))
    assert client.request("GET", "/x").status == 200


@pytest.mark.parametrize(("path", "size"), [("/large", len(LARGE)), ("/file", FILE_BYTES), ("/stream", 16_000_000)])
def test_large_answers_arrive_whole(client: Client, path: str, size: int) -> None:
    answer = client.request("GET", path)
    assert (answer.status, len(answer.body)) == (200, size)
    assert client.request("GET", "/x").status == 200


def test_a_mistake_of_the_application_is_a_problem(client: Client) -> None:
    answer = client.request("GET", "/fail", X_Request_Id="mine")
    assert (answer.status, answer.json["request_id"], answer.headers["x-request-id"]) == (500, "mine", "mine")
    assert "mistake" not in answer.body.decode()


def test_headers_become_what_wsgi_knows(client: Client) -> None:
    client.send(
        b"GET /a%C3%A9/%00%ff?q=%20 HTTP/1.1\r\nHost: h:1\r\nX-One: 1\r\nx-one: 2\r\nCookie: a=1\r\nCookie: b=2\r\n"
        b"X_Forwarded_For: 9.9.9.9\r\nContent-Type: text/x\r\n\r\n"
    )
    said = client.answer().json
    assert said["PATH_INFO"].encode("latin-1") == "/aé/".encode() + b"\x00\xff"
    assert (said["QUERY_STRING"], said["HTTP_HOST"], said["CONTENT_TYPE"]) == ("q=%20", "h:1", "text/x")
    assert (said["HTTP_X_ONE"], said["HTTP_COOKIE"]) == ("1,2", "a=1; b=2")
    assert "HTTP_X_FORWARDED_FOR" not in said, "a name with underscores stands for no other"
    assert (said["REMOTE_ADDR"], said["wsgi.url_scheme"], said["SERVER_PROTOCOL"]) == ("127.0.0.1", "http", "HTTP/1.1")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"no http at all\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    ],
)
def test_what_is_no_http_or_could_be_read_in_two_ways(client: Client, request_bytes: bytes) -> None:
    client.send(request_bytes)
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert client.ended(within_s=5.0)


def test_an_upgrade_is_not_made_and_the_connection_goes_on(client: Client) -> None:
    for _ in range(3):
        asked = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
        assert client.request("POST", "/x", b"hello", **asked).json["size"] == 5
        assert client.request("GET", "/x").status == 200


def test_http_1_0_ends_its_connection(client: Client) -> None:
    client.send(b"GET /x HTTP/1.0\r\n\r\n")
    assert client.answer().status == 200
    assert client.ended(within_s=5.0)


def test_headers_that_come_slowly(front: Running) -> None:
    with front.client() as silent, front.client() as slow, front.client() as again:
        assert again.request("GET", "/x").status == 200
        slow.send(b"GET /x HTTP/1.1\r\n")
        again.send(b"GET /x HTTP/1.1\r\nX-")
        for each in (slow, again):
            answer = each.answer()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert each.ended(within_s=5.0)
        assert silent.ended(within_s=10.0)


def test_headers_without_end(client: Client) -> None:
    client.send(b"GET /x HTTP/1.1\r\n")
    for _ in range(7):
        client.send(b"X-A: " + b"a" * 10_000 + b"\r\n")
        time.sleep(0.02)
    assert client.answer().status == 431


def test_idle_connections_stay_and_end() -> None:
    with running(keep_alive_s=4.0, head_s=0.5) as front, front.client() as client:
        assert client.request("GET", "/x").status == 200
        time.sleep(0.7)
        assert client.request("GET", "/x").status == 200
        assert client.ended(within_s=10.0)


@pytest.mark.soak
@pytest.mark.parametrize("path", ["/large", "/file", "/stream"])
def test_a_reader_that_does_not_read_is_cut_off_and_holds_no_thread(path: str) -> None:
    with running(waiting=100) as front, ExitStack() as stack:
        lazy = [stack.enter_context(front.client(buffer=4_096)) for _ in range(3 if path == "/stream" else 30)]
        for each in lazy:
            each.send(head("GET", path))
        client = stack.enter_context(front.client())
        time.sleep(0.3)
        for _ in range(10):
            assert client.request("GET", "/x").status == 200
        until = time.monotonic() + 15.0
        while len(front.server.server_state.connections) > 1 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(front.server.server_state.connections) == 1, "those that did not read are gone"


def test_a_reader_that_leaves(front: Running) -> None:
    for path in ("/large", "/file", "/stream"):
        with front.client() as leaving:
            leaving.send(head("GET", path))
            leaving.socket.recv(1_000)
    with front.client() as client:
        for _ in range(8):
            assert client.request("GET", "/slow?0").status == 200


@pytest.mark.soak
def test_more_than_may_wait_is_refused_and_health_answers() -> None:
    with running(threads=2, waiting=3) as front, ExitStack() as stack:
        busy = [stack.enter_context(front.client()) for _ in range(5)]
        for each in busy:
            each.send(head("GET", "/slow?3"))
        time.sleep(0.3)
        client = stack.enter_context(front.client())
        answer = client.request("POST", "/x", b"hello")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.json["type"].endswith("#temporary-reduced-capacity")
        page = client.request("GET", "/admin/tenants/")
        assert (page.status, page.headers["retry-after"]) == (503, "1")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert b"Away for a moment" in page.body
        assert b'class="p-button p-primary" href="/admin/"' in page.body
        for path in ("/livez", "/readyz", "/metrics", "/static/slow?0"):
            assert client.request("GET", path).status == 200
        assert front.server._front._pool.waiting == 3, "they were answered while all threads were taken"
        assert [each.answer().status for each in busy] == [200] * 5
        assert client.request("POST", "/x", b"hello").status == 200


def test_static_files_hold_up_no_call() -> None:
    """However many are asked for: they wait for each other."""
    with running(threads=2) as front, ExitStack() as stack:
        browsers = [stack.enter_context(front.client()) for _ in range(6)]
        for each in browsers:
            each.send(head("GET", "/static/slow?0.8"))
        time.sleep(0.1)
        client = stack.enter_context(front.client())
        for _ in range(3):
            assert client.request("POST", "/x", b"hello").status == 200
        assert front.server._front._statics.waiting > 0, "the calls were answered while files waited"
        assert [each.answer().status for each in browsers] == [200] * 6


def test_as_many_connections_as_may_be() -> None:
    """The one that has been idle longest makes room; one that is at work does not."""
    with running(connections=3) as front, ExitStack() as stack:
        at_work, *idle = [stack.enter_context(front.client()) for _ in range(3)]
        for each in idle:
            assert each.request("GET", "/x").status == 200
        at_work.send(head("GET", "/slow?1"))
        time.sleep(0.1)
        new = stack.enter_context(front.client())
        assert new.request("GET", "/x").status == 200
        assert any(each.ended(within_s=0.5) for each in idle)
        assert at_work.answer().status == 200


@pytest.mark.soak
def test_connections_full_of_half_sent_bodies_and_lazy_readers_make_room() -> None:
    with running(connections=4, body_grace_s=20.0, body_s=20.0, reader_s=20.0) as front, ExitStack() as stack:
        half = [stack.enter_context(front.client()) for _ in range(2)]
        lazy = [stack.enter_context(front.client(buffer=4_096)) for _ in range(2)]
        for each in half:
            each.send(head("POST", "/x", Content_Length="1000") + b"x")
        for each in lazy:
            each.send(head("GET", "/large"))
        time.sleep(2.5)
        at_work = []
        for _ in range(4):
            new = stack.enter_context(front.client())
            at_work.append(new.send(head("GET", "/slow?2")))
            time.sleep(0.1)
        assert [each.answer().status for each in half] == [503, 503]
        assert [each.answer().status for each in at_work] == [200] * 4


def refuses(front: Running) -> bool:
    try:
        front.client().close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_drain_finishes_what_has_begun() -> None:
    with ExitStack() as stack:
        front = Running(replace(LIMITS, body_grace_s=5.0))
        front.start()
        at_work, half, idle, later = [stack.enter_context(front.client()) for _ in range(4)]
        assert idle.request("GET", "/x").status == later.request("GET", "/x").status == 200
        at_work.send(head("GET", "/slow?1"))
        half.send(head("POST", "/x", Content_Length="10") + b"x")
        time.sleep(0.2)
        ended = threading.Thread(target=front.stop)
        ended.start()
        until(lambda: refuses(front), bool)
        answer = later.request("GET", "/x")
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        half.send(b"x" * 9)
        for each in (at_work, half):
            answer = each.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert each.ended(within_s=5.0)
        assert idle.ended(within_s=4.0)
        ended.join(5.0)
        assert not ended.is_alive()


def test_a_drain_ends_in_time() -> None:
    with ExitStack() as stack:
        front = Running(replace(LIMITS, drain_s=1.0))
        front.start()
        client = stack.enter_context(front.client())
        client.send(head("GET", "/slow?6"))
        time.sleep(0.2)
        began = time.monotonic()
        front.stop()
        assert time.monotonic() - began > 0.9
