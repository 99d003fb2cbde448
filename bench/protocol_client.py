"""The load generator for a comparison of protocols: one process, every answer checked, every input new.

``python -m bench.protocol_client`` reads one :class:`Job` as JSON from standard input and prints one :class:`ProtocolOutcome`.
REST goes over keep-alive connections and raw sockets, with bodies made beforehand; gRPC over the generated client.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from bench import client, echo_model
from bench.number_models import SHAPES

_ROOT: Final = Path(__file__).resolve().parent.parent
REST, REST_BATCH = "REST /v2/predict", "REST /v2/batch-predict"
UNARY, BATCH, STREAM = "gRPC Predict", "gRPC BatchPredict", "gRPC StreamPredict"


class Job(msgspec.Struct, frozen=True):
    """``items`` inputs of ``model`` to the service on this port of loopback, ``batch`` in each call of a batch."""

    protocol: str
    port: int
    api_key: str
    model: str
    items: int
    connections: int
    batch: int
    seed: int


class ProtocolOutcome(msgspec.Struct, frozen=True):
    """What it took. ``p50_ms`` is of a call, whatever it holds; of a stream, of an item from sending to its answer."""

    items: int
    wall_s: float
    p50_ms: float
    p99_ms: float
    client_cpu_s: float

    @property
    def per_second(self) -> float:
        return self.items / self.wall_s


def run(job: Job, *, timeout_s: float = 150.0) -> ProtocolOutcome:
    """Let a process of its own do the job. Raises RuntimeError with what it said when an answer was wrong."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.protocol_client"],
        input=msgspec.json.encode(job),
        capture_output=True,
        cwd=_ROOT,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{job.protocol} failed: {done.stderr.decode()[-2000:]}")
    return msgspec.json.decode(done.stdout, type=ProtocolOutcome)


def _inputs(job: Job) -> npt.NDArray[np.float32]:
    """[items, *shape of an input], never the same twice for different seeds."""
    shape = (echo_model.NUMBERS,) if job.model == echo_model.NAME else SHAPES[job.model]
    return np.random.default_rng(job.seed).random((job.items, *shape), dtype=np.float32)


# --- REST ---------------------------------------------------------------------------------------------------------------


class _Rest(client.Generator):
    def check(self, number: int, head: bytes, body: bytes) -> None:
        if not head.startswith(b"http/1.1 200 "):
            self.complain(f"{head[:200]!r} {body[:400]!r}")
            return
        answer = json.loads(body)
        if any("predictions" not in each or each["cached"] for each in answer.get("responses", [answer])):
            self.complain(f"{body[:400]!r}")


def _rest(job: Job) -> ProtocolOutcome:
    inputs = _inputs(job).tolist()
    if job.protocol == REST:
        path, bodies = "/v2/predict", [{"model": job.model, "input": each} for each in inputs]
    else:
        groups = [inputs[start : start + job.batch] for start in range(0, job.items, job.batch)]
        path = "/v2/batch-predict"
        bodies = [{"requests": [{"model": job.model, "input": each} for each in group]} for group in groups]
    messages = [_message(job, path, body) for body in bodies]
    work = client.Job(
        port=job.port, headers={}, texts=[], connections=job.connections, requests=len(messages), cached=False
    )
    started = time.process_time()
    outcome = _Rest(work, messages).run()
    spent = time.process_time() - started
    if outcome.wrong or outcome.unavailable:
        raise SystemExit(f"{outcome.unavailable} unavailable; wrong: {outcome.wrong[:1]}")
    return ProtocolOutcome(job.items, outcome.wall_s, outcome.p50_ms, outcome.p99_ms, spent)


def _message(job: Job, path: str, body: Any) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{job.port}\r\nAuthorization: Bearer {job.api_key}\r\n"
        f"User-Agent: bench/1\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


# --- gRPC ---------------------------------------------------------------------------------------------------------------


def _grpc(job: Job) -> ProtocolOutcome:
    import grpc

    from inference.grpc.generated import ml_inference_pb2 as pb
    from inference.grpc.generated import ml_inference_pb2_grpc as pb_grpc

    rows = [row.tobytes() for row in _inputs(job)]
    requests = [pb.PredictRequest(model_name=job.model, features_raw=row) for row in rows]
    metadata = (("authorization", f"Bearer {job.api_key}"),)
    with grpc.insecure_channel(f"127.0.0.1:{job.port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=10)
        stub = pb_grpc.InferenceServiceStub(channel)
        if job.protocol == STREAM:
            return _stream(job, requests, lambda sent: stub.StreamPredict(sent, metadata=metadata))
        if job.protocol == UNARY:
            return _calls(job, requests, lambda request: [stub.Predict(request, metadata=metadata)])
        groups = [
            pb.BatchPredictRequest(model_name=job.model, requests=requests[start : start + job.batch])
            for start in range(0, job.items, job.batch)
        ]
        return _calls(job, groups, lambda group: stub.BatchPredict(group, metadata=metadata).responses)


def _good(answer: Any) -> None:
    echoed = len(answer.embedding) == echo_model.NUMBERS
    if (len(answer.predictions) != 2 and not echoed) or answer.cached or answer.HasField("status"):
        raise SystemExit(f"a wrong answer: {answer}")


def _calls(job: Job, requests: list[Any], ask: Callable[[Any], Any]) -> ProtocolOutcome:
    latencies: list[float] = []

    def one(request: Any) -> None:
        sent = time.perf_counter()
        answers = ask(request)
        latencies.append(time.perf_counter() - sent)
        for answer in answers:
            _good(answer)

    cpu, started = time.process_time(), time.perf_counter()
    if job.connections == 1:
        for request in requests:
            one(request)
    else:
        with ThreadPoolExecutor(job.connections) as pool:
            list(pool.map(one, requests))
    return _outcome(job, time.perf_counter() - started, latencies, time.process_time() - cpu)


def _stream(job: Job, requests: list[Any], ask: Callable[[Iterator[Any]], Iterator[Any]]) -> ProtocolOutcome:
    sent_at: list[float] = []
    latencies: list[float] = []

    def sending() -> Iterator[Any]:
        for request in requests:
            sent_at.append(time.perf_counter())
            yield request

    cpu, started = time.process_time(), time.perf_counter()
    for number, answer in enumerate(ask(sending())):
        latencies.append(time.perf_counter() - sent_at[number])
        _good(answer)
    if len(latencies) != len(requests):
        raise SystemExit(f"{len(latencies)} answers to {len(requests)} requests")
    return _outcome(job, time.perf_counter() - started, latencies, time.process_time() - cpu)


def _outcome(job: Job, wall_s: float, latencies: list[float], cpu_s: float) -> ProtocolOutcome:
    ordered = sorted(latencies)
    return ProtocolOutcome(
        items=job.items,
        wall_s=wall_s,
        p50_ms=ordered[len(ordered) // 2] * 1000,
        p99_ms=ordered[len(ordered) * 99 // 100] * 1000,
        client_cpu_s=cpu_s,
    )


if __name__ == "__main__":
    _job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    threading.stack_size(256 * 1024)
    sys.stdout.buffer.write(msgspec.json.encode((_rest if _job.protocol.startswith("REST") else _grpc)(_job)))
