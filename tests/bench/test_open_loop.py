"""Open-loop load keeps its timetable, and every request that was due is accounted for."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import open_loop
from bench.open_loop import BROKEN, NO_ANSWER, NOT_SENT, Job, OpenLoopOutcome, Stream, percentile, timetable
from bench.open_loop_client import Generator, complete

_PREDICTION = b'{"predictions": []}'


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


@contextmanager
def service(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[int]:
    """A service that does this with each request whose body it has read, and its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def says(status: int, body: bytes = _PREDICTION) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def waits(stop: threading.Event) -> None:
    stop.wait(10)


def job(port: int, *streams: Stream, connections: int = 100, patience_s: float = 5.0) -> Job:
    return Job(
        port=port,
        streams=list(streams) or [Stream("one", {}, 100.0)],
        seconds=0.4,
        patience_s=patience_s,
        seed=1,
        connections=connections,
    )


def due(work: Job) -> list[int]:
    table = timetable(work.streams, seconds=work.seconds, seed=work.seed)
    return [sum(1 for _, stream in table if stream == index) for index in range(len(work.streams))]


def test_each_stream_sends_all_that_was_due_and_sees_its_own_answers() -> None:
    def by_tenant(handler: BaseHTTPRequestHandler) -> None:
        says(429 if handler.headers["X-Who"] == "noisy" else 200)(handler)

    with service(by_tenant) as port:
        work = job(port, Stream("noisy", {"X-Who": "noisy"}, 200.0), Stream("quiet", {}, 50.0))
        outcome = open_loop.run(work)
    noisy, quiet = outcome.seen
    assert [noisy.statuses, quiet.statuses] == [{"429": due(work)[0]}, {"200": due(work)[1]}]
    assert noisy.good == 0
    assert len(quiet.latencies_ms) == quiet.good == quiet.due == sum(quiet.good_by_second)
    assert noisy.latencies_ms == []


def test_who_gets_no_answer_hangs_up() -> None:
    stop = threading.Event()
    with service(lambda _: waits(stop)) as port:
        work = job(port, patience_s=0.2)
        outcome = _run(work)
        stop.set()
    assert outcome.seen[0].statuses == {NO_ANSWER: due(work)[0]}


def test_what_finds_no_connection_is_counted() -> None:
    stop = threading.Event()
    with service(lambda _: waits(stop)) as port:
        work = job(port, connections=3, patience_s=0.8)
        outcome = _run(work)
        stop.set()
    assert outcome.seen[0].statuses == {NO_ANSWER: 3, NOT_SENT: due(work)[0] - 3}


def test_a_connection_that_breaks_is_counted() -> None:
    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    with service(hang_up) as port:
        work = job(port)
        outcome = _run(work)
    assert outcome.seen[0].statuses == {BROKEN: due(work)[0]}


def test_a_good_status_without_a_prediction_fails_the_run() -> None:
    with service(says(200, b"{}")) as port, pytest.raises(RuntimeError, match="wrong answers"):
        open_loop.run(job(port))


def _run(work: Job) -> OpenLoopOutcome:
    return Generator(work).run()


def test_a_timetable_is_the_same_for_a_seed_and_in_order() -> None:
    streams = [Stream("a", {}, 500.0), Stream("b", {}, 50.0), Stream("none", {}, 0.0)]
    table = timetable(streams, seconds=20.0, seed=3)
    assert table == timetable(streams, seconds=20.0, seed=3) == sorted(table)
    assert table != timetable(streams, seconds=20.0, seed=4)
    counts = [sum(1 for _, stream in table if stream == index) for index in range(3)]
    assert counts == [pytest.approx(10_000, rel=0.1), pytest.approx(1_000, rel=0.2), 0]
    assert all(0 < at < 20 for at, _ in table)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found in ordered
    assert percentile(ordered, 0.0) <= found <= percentile(ordered, 1.0) == ordered[-1]


def test_an_answer_is_complete_with_its_last_byte() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    assert [complete(whole[:end]) for end in range(len(whole))] == [None] * len(whole)
    assert complete(whole) == complete(whole + b"more") == len(whole)
