"""The load generator counts an answer only when it is whole and right."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from bench import client
from bench.client import Job

GOOD = {
    "model": "sentiment",
    "model_version": "1.0.0",
    "predictions": [{"label": "positive", "score": 0.9}, {"label": "negative", "score": 0.1}],
    "usage": {"units": 1},
    "cached": True,
    "latency_ms": 0.5,
}


@contextmanager
def service(change: dict[str, object], *, status: int = 200, same_id: bool = False) -> Iterator[int]:
    """A service that answers GOOD with some fields changed, and the port it listens on."""
    count = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            nonlocal count
            count += 1
            self.rfile.read(int(self.headers["Content-Length"]))
            body = msgspec.json.encode({"id": "1" if same_id else str(count), **GOOD, **change})
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def job(port: int, *, requests: int = 20) -> Job:
    return Job(
        port=port,
        headers={},
        texts=["a", "b"],
        connections=2,
        requests=requests,
        cached=True,
        seconds=20,
        scores=True,
        latencies=True,
    )


def test_it_sends_what_was_asked_for_and_keeps_scores_and_latencies() -> None:
    with service({}) as port:
        outcome = client.run(job(port))
    assert outcome.requests == 20
    assert outcome.scores == [0.9, 0.9]
    assert len(outcome.latencies_ms) == 2
    assert min(outcome.latencies_ms) > 0
    assert outcome.unavailable == 0


@pytest.mark.parametrize(
    "change",
    [
        {"cached": False},
        {"model": "digits"},
        {"predictions": [{"label": "positive", "score": 0.9}]},
        {"predictions": [{"label": "positive", "score": 0.9}, {"label": "negative", "score": 0.9}]},
        {"usage": None},
    ],
)
def test_a_wrong_answer_fails_the_run(change: dict[str, object]) -> None:
    with service(change) as port, pytest.raises(RuntimeError, match="wrong answers"):
        client.run(job(port))


def test_an_id_that_came_before_fails_the_run() -> None:
    with service({}, same_id=True) as port, pytest.raises(RuntimeError, match="given before"):
        client.run(job(port))


def test_a_service_that_is_often_unavailable_fails_the_run() -> None:
    with service({}, status=503) as port, pytest.raises(RuntimeError, match="20 answers were 503"):
        client.run(job(port))


def test_a_single_request_is_checked_too() -> None:
    with service({"cached": False}) as port, client.Single(port, {}) as single:
        single.ask("a", cached=False)
        with pytest.raises(ValueError, match="200"):
            single.ask("a", cached=True)
