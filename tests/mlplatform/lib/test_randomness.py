"""Random blocks: never one twice, in whichever thread they are drawn."""

import os
from concurrent.futures import ThreadPoolExecutor

from mlplatform.lib import randomness


def _draw(count: int) -> list[bytes]:
    return [randomness.block() for _ in range(count)]


def test_blocks_are_whole_and_never_one_twice_in_many_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        drawn = [block for blocks in pool.map(_draw, [1000] * 16) for block in blocks]
    assert len(set(drawn)) == len(drawn) == 16_000
    assert {len(block) for block in drawn} == {randomness.BLOCK}


def test_a_forked_process_draws_others() -> None:
    randomness.block()  # so that more are ready
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"".join(_draw(100)))
        os._exit(0)
    os.waitpid(child, 0)
    told = os.read(reader, 100 * randomness.BLOCK)
    os.close(reader)
    os.close(writer)
    theirs = {told[start : start + randomness.BLOCK] for start in range(0, len(told), randomness.BLOCK)}
    assert len(theirs) == 100
    assert theirs.isdisjoint(_draw(600))
