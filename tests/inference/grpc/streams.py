"""Requests of a stream, and a stream whose requests a test sends one by one."""

import queue
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from inference.grpc.generated import ml_inference_pb2 as pb
from tests.support.grpc import Grpc, Problem


def texts(number: int) -> list[str]:
    return ["x" * (index % 90 + 1) + str(index) for index in range(number)]


def requests(number: int) -> Iterator[pb.PredictRequest]:
    return (pb.PredictRequest(model_name="tiny", text=text, top_k=2) for text in texts(number))


def yes(answer: pb.PredictResponse) -> float:
    return round(next(item.score for item in answer.predictions if item.label == "yes"), 5)


class Conversation:
    """A stream whose requests the test sends one by one."""

    def __init__(self, api: Grpc, **options: Any) -> None:
        self._sent: queue.SimpleQueue[pb.PredictRequest | None] = queue.SimpleQueue()
        self.call = api.stream(iter(self._sent.get, None), **options)

    def send(self, *sent: pb.PredictRequest) -> None:
        for request in sent:
            self._sent.put(request)

    def ask(self, text: str) -> pb.PredictResponse:
        self.send(pb.PredictRequest(model_name="tiny", text=text))
        answer: pb.PredictResponse = next(self.call)
        return answer

    def end(self) -> list[pb.PredictResponse]:
        self._sent.put(None)
        return list(self.call)


def problem_of(call: Any) -> Problem:
    """The status with which a stream ends, after what it still answers."""
    with pytest.raises(grpc.RpcError) as error:
        for _ in call:
            pass
    return Problem(error.value)
