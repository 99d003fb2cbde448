"""The reference's uncached mode gathers inputs into batches."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np

from bench.reference.echo import Batcher, model


@asynccontextmanager
async def batching(*, max_batch_size: int, timeout_s: float) -> AsyncIterator[tuple[Batcher, list[list[int]]]]:
    """A batcher that runs, whose model negates, and the batches that it makes."""
    batches: list[list[int]] = []

    def forward(inputs: Sequence[int]) -> list[int]:
        batches.append(list(inputs))
        return [-one for one in inputs]

    batcher = Batcher(forward, max_batch_size=max_batch_size, timeout_s=timeout_s)
    running = asyncio.create_task(batcher.run())
    yield batcher, batches
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def test_what_waits_goes_together_up_to_a_full_batch() -> None:
    async def five_at_once() -> None:
        async with batching(max_batch_size=4, timeout_s=0) as (batcher, batches):
            assert await asyncio.gather(*(batcher.compute(each) for each in range(5))) == [0, -1, -2, -3, -4]
            assert batches == [[0, 1, 2, 3], [4]]

    asyncio.run(five_at_once())


def test_without_a_time_out_a_lone_input_goes_at_once() -> None:
    async def one_after_the_other() -> None:
        async with batching(max_batch_size=4, timeout_s=0) as (batcher, batches):
            assert [await batcher.compute(each) for each in range(2)] == [0, -1]
            assert batches == [[0], [1]]

    asyncio.run(one_after_the_other())


def test_a_time_out_lets_later_inputs_join() -> None:
    async def a_moment_apart() -> None:
        async with batching(max_batch_size=2, timeout_s=3600) as (batcher, batches):
            first = asyncio.create_task(batcher.compute(1))
            await asyncio.sleep(0.01)
            assert (await batcher.compute(2), await first) == (-2, -1)
            assert batches == [[1, 2]]

    asyncio.run(a_moment_apart())


def test_the_model_is_the_echo_of_the_worker() -> None:
    numbers = np.arange(8, dtype=np.float32)
    assert model().forward([numbers]).tolist() == [numbers.tolist()]
