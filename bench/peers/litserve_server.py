"""The live ``sentiment`` model behind LitServe: runs in the peers' environment, with the description as its argument.

``python -m bench.peers.litserve_server FILE``, where the file holds one :class:`Serving`. The model is loaded by the
runtime class that the product's worker uses, on as many torch threads; requests and answers have the product's shape.
"""

import itertools
import os
import sys
from pathlib import Path
from typing import Any

import litserve  # type: ignore[import-not-found]  # it is installed in the peers' environment only
import msgspec

from bench import model_spec


class Serving(msgspec.Struct, frozen=True):
    """The model, how LitServe gathers its batches, whether they are padded (or packed, as the product has them), and where."""

    described: model_spec.Described
    port: int
    max_batch_size: int
    batch_timeout_s: float
    padded: bool
    worker_cores: list[int]


class Sentiment(litserve.LitAPI):  # type: ignore[misc]  # the untyped base class
    """Texts to the two scores, in batches."""

    def __init__(self, serving: Serving) -> None:
        super().__init__(
            max_batch_size=serving.max_batch_size, batch_timeout=serving.batch_timeout_s, api_path="/v2/predict"
        )
        self._serving = serving

    def setup(self, device: str) -> None:
        """Runs in the inference process, once."""
        os.sched_setaffinity(0, self._serving.worker_cores)
        from inference.runtimes import devices, loading

        described = self._serving.described
        spec = described.runtime_spec()
        devices.configure_threads(described.torch_threads)
        self._runtime = loading.RUNTIMES[spec.runtime]()
        self._runtime.load(spec)
        if self._serving.padded:
            from bench.peers.padded import Padded

            inside = vars(self._runtime)
            inside["_network"] = Padded(inside["_network"])
        self._runtime.warmup()
        self._labels = described.labels
        self._ids = itertools.count()

    def decode_request(self, request: dict[str, Any]) -> str:
        return str(request["input"])

    def batch(self, inputs: list[str]) -> list[str]:
        return inputs

    def predict(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self._runtime.forward(texts).tolist()
        return rows

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        return output

    def encode_response(self, output: list[float]) -> dict[str, Any]:
        return {
            "id": f"{next(self._ids):016x}",
            "model": "sentiment",
            "model_version": self._serving.described.spec["version"],
            "predictions": [
                {"label": label, "score": round(score, 6)} for label, score in zip(self._labels, output, strict=True)
            ],
            "usage": {"units": 1},
            "cached": False,
            "latency_ms": 0.0,
        }


def main() -> None:
    """Serve until TERM: one HTTP process and one inference process, as the product has."""
    serving = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Serving)
    server = litserve.LitServer(
        Sentiment(serving), accelerator="cpu", devices=1, workers_per_device=1, timeout=60, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=serving.port,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    main()
