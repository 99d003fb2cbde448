"""Cached predictions behind a request limit, in FastAPI with async Redis: no keys, no metering, no model.

One fixed-window limit for each client address, one look into the cache, one JSON answer shaped as the product's.
"""

import hashlib
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import redis.asyncio as redis
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field, TypeAdapter

LIMIT = int(os.environ.get("REFERENCE_LIMIT", "1000000000"))
WINDOW_S = 60


class Parameters(BaseModel):
    top_k: int | None = Field(default=None, ge=1, le=1000)


class PredictIn(BaseModel):
    model: Annotated[str, Field(max_length=130)]
    input: Annotated[str, Field(max_length=10_000)]
    parameters: Parameters = Parameters()


class Prediction(BaseModel):
    label: str
    score: float


class Usage(BaseModel):
    units: int


class PredictOut(BaseModel):
    id: str
    model: str
    model_version: str
    predictions: list[Prediction]
    usage: Usage
    cached: bool
    latency_ms: float


class Stored(BaseModel):
    """What the cache holds for one input."""

    model_version: str
    predictions: list[Prediction]


_stored = TypeAdapter(Stored)


def cache_key(model: str, text: str) -> str:
    """The key of an answer in the cache."""
    return "prediction:" + hashlib.sha256(f"{model}\0{text}".encode()).hexdigest()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    client = redis.from_url(os.environ["REFERENCE_REDIS_URL"])
    app.state.redis = client
    yield
    await client.aclose()


app = FastAPI(lifespan=lifespan)


async def within_limit(client: redis.Redis, address: str) -> bool:
    """Count this request in the current window; one round trip."""
    key = f"limit:{address}:{int(time.time()) // WINDOW_S}"
    async with client.pipeline(transaction=False) as pipe:
        pipe.incr(key)
        pipe.expire(key, WINDOW_S * 2)
        used, _ = await pipe.execute()
    return bool(used <= LIMIT)


@app.post("/v2/predict")
async def predict(body: PredictIn, request: Request) -> PredictOut:
    started = time.perf_counter()
    client: redis.Redis = request.app.state.redis
    if not await within_limit(client, request.client.host if request.client else ""):
        raise HTTPException(429, "Too many requests.", headers={"Retry-After": str(WINDOW_S)})
    found = await client.get(cache_key(body.model, body.input))
    if found is None:
        raise HTTPException(503, "This service answers from its cache only.")
    stored = _stored.validate_json(found)
    return PredictOut(
        id=uuid.uuid4().hex,
        model=body.model,
        model_version=stored.model_version,
        predictions=stored.predictions[: body.parameters.top_k],
        usage=Usage(units=1),
        cached=True,
        latency_ms=round((time.perf_counter() - started) * 1000, 3),
    )


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}
