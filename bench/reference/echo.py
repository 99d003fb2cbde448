"""The reference's uncached mode: the model ``echo`` in its process, with dynamic batching as LitServe has it.

The limit, the look into the cache and the answer are those of :mod:`bench.reference.app`; what is not found there is computed and
kept. The model runs on the event loop, which spares it two thread hand-offs; a model that takes long could not.
"""

import asyncio
import contextlib
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import redis.asyncio as redis
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

from bench.echo_model import NAME, NUMBERS
from bench.reference.app import WINDOW_S, Usage, cache_key, within_limit
from inference.runtimes.protocol import RuntimeSpec
from inference.runtimes.tensor_echo import TensorEcho

VERSION = "1.0.0"
MAX_BATCH_SIZE = 64
BATCH_TIMEOUT_S = float(os.environ.get("REFERENCE_BATCH_TIMEOUT_S", "0"))
KEPT_S = 60


class EchoIn(BaseModel):
    model: Annotated[str, Field(max_length=130)]
    input: Annotated[list[float], Field(min_length=NUMBERS, max_length=NUMBERS)]


class EchoOut(BaseModel):
    id: str
    model: str
    model_version: str
    embedding: list[float]
    usage: Usage
    cached: bool
    latency_ms: float


class Batcher:
    """Inputs of many requests, computed together.

    A batch goes when it is full, or ``timeout_s`` after its first input; with 0 it is what waits at that moment.
    """

    def __init__(
        self, forward: Callable[[Sequence[Any]], Iterable[Any]], *, max_batch_size: int, timeout_s: float
    ) -> None:
        self._forward = forward
        self._max_batch_size = max_batch_size
        self._timeout_s = timeout_s
        self._queue: asyncio.Queue[tuple[Any, asyncio.Future[Any]]] = asyncio.Queue()

    async def compute(self, one: Any) -> Any:
        """The row of this input."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((one, answer))
        return await answer

    async def run(self) -> None:
        """Compute batch after batch until it is cancelled."""
        while True:
            batch = await self._gathered()
            rows = self._forward([one for one, _ in batch])
            for row, (_, answer) in zip(rows, batch, strict=True):
                if not answer.done():
                    answer.set_result(row)

    async def _gathered(self) -> list[tuple[Any, asyncio.Future[Any]]]:
        batch = [await self._queue.get()]
        until = time.monotonic() + self._timeout_s
        while len(batch) < self._max_batch_size:
            left_s = until - time.monotonic()
            try:
                batch.append(
                    self._queue.get_nowait() if left_s <= 0 else await asyncio.wait_for(self._queue.get(), left_s)
                )
            except (asyncio.QueueEmpty, TimeoutError):
                break
        return batch


def model() -> TensorEcho:
    """The runtime that the product's worker has for ``echo``."""
    runtime = TensorEcho()
    runtime.load(
        RuntimeSpec(
            name=NAME,
            version=VERSION,
            runtime="tensor-echo",
            artefact=Path(),
            digest="",
            outputs=NUMBERS,
            input_schema={"kind": "tensor", "dtype": "float32", "shape": [NUMBERS]},
            max_batch_size=MAX_BATCH_SIZE,
            device="cpu",
        )
    )
    runtime.warmup()
    return runtime


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    client = redis.from_url(os.environ["REFERENCE_REDIS_URL"])
    batcher = Batcher(model().forward, max_batch_size=MAX_BATCH_SIZE, timeout_s=BATCH_TIMEOUT_S)
    app.state.redis, app.state.batcher = client, batcher
    running = asyncio.create_task(batcher.run())
    yield
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await client.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/v2/predict")
async def predict(body: EchoIn, request: Request) -> EchoOut:
    started = time.perf_counter()
    client: redis.Redis = request.app.state.redis
    if not await within_limit(client, request.client.host if request.client else ""):
        raise HTTPException(429, "Too many requests.", headers={"Retry-After": str(WINDOW_S)})
    key = cache_key(body.model, json.dumps(body.input))
    found = await client.get(key)
    if found is None:
        row = await request.app.state.batcher.compute(np.array(body.input, dtype=np.float32))
        embedding = row.tolist()
        await client.set(key, json.dumps(embedding), ex=KEPT_S)
    else:
        embedding = json.loads(found)
    return EchoOut(
        id=uuid.uuid4().hex,
        model=body.model,
        model_version=VERSION,
        embedding=embedding,
        usage=Usage(units=1),
        cached=found is not None,
        latency_ms=round((time.perf_counter() - started) * 1000, 3),
    )


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}
