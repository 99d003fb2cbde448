"""A server of grpcio that echoes and does nothing else: what gRPC itself takes of a call, and of the load generator's time.

``python -m bench.bare_grpc PORT`` serves ``Predict`` and ``StreamPredict``, on grpcio's asyncio server under uvloop, as the
product does.
"""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop

from bench.processes import ROOT, cpu_s, free_port, running, wait_until
from inference.grpc.generated import ml_inference_pb2 as pb


@dataclass(frozen=True, slots=True)
class BareGrpc:
    """A running server."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        return cpu_s([self.pid])


@contextlib.contextmanager
def started(directory: Path) -> Iterator[BareGrpc]:
    """Start it with its log in this folder, which is made, and stop it at the end."""
    directory.mkdir(exist_ok=True)
    port, log = free_port(), directory / "bare-grpc.log"
    argv = [sys.executable, "-m", "bench.bare_grpc", str(port)]
    with running(argv, env={"PATH": "", "PYTHONPATH": str(ROOT)}, log=log) as process:
        wait_until(lambda: _listens(port), process=process, log=log, patience_s=30)
        yield BareGrpc(port=port, pid=process.pid)


def _listens(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=1)
        except grpc.FutureTimeoutError:
            return False
        return True


def _echo(data: bytes) -> bytes:
    request = pb.PredictRequest.FromString(data)
    numbers = np.frombuffer(request.features_raw, dtype="<f4").tolist()
    answer: bytes = pb.PredictResponse(
        model_name=request.model_name, model_version="1.0.0", units=1, embedding=numbers
    ).SerializeToString()
    return answer


async def _predict(data: bytes, _: Any) -> bytes:
    return _echo(data)


async def _stream_predict(_: Any, context: Any) -> None:
    while isinstance(data := await context.read(), bytes):
        await context.write(_echo(data))


async def _serve(port: int) -> None:
    (service,) = pb.DESCRIPTOR.services_by_name.values()
    server = grpc.aio.server()
    methods: dict[str, Any] = {
        "Predict": grpc.unary_unary_rpc_method_handler(_predict),
        "StreamPredict": grpc.stream_stream_rpc_method_handler(_stream_predict),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, methods),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
