"""Tenants' models in processes of their own: they answer as in ours, and what they break they break alone."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inference.isolation import frames
from inference.isolation import isolated as isolated_runtime
from inference.isolation.forks import Forker
from inference.isolation.isolated import Isolated, LimitBroken
from inference.isolation.limits import ComputeLimits
from inference.runtimes import loading
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import LoadError, RuntimeFault
from inference.types import REFUSE, TO_LIMIT
from tests.support import hf_folders, hostile
from tests.support.waiting import until

# On a busy machine a second of processor time can take a minute, so the clock decides only where a test is about it.
LIMITS = ComputeLimits(memory_bytes=600 * 2**20, cpu_s=1, wall_s=120.0, load_s=120.0)


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    made = Forker()
    yield made
    made.stop()


def isolated(forker: Forker, folder: Path, limits: ComputeLimits = LIMITS) -> tuple[CheckedRuntime, Isolated]:
    spec = hostile.spec(folder)
    runtime = isolated_runtime.of(spec, limits, forker)
    return loading.load(spec, runtime=runtime), runtime


def pid_of(runtime: Isolated) -> int:
    pid = runtime.pid
    assert pid is not None
    return pid


def gone(pid: int) -> bool:
    """Whether the process is over; one that its parent has not buried yet is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except FileNotFoundError:
        return True


def test_it_answers_what_it_would_answer_in_this_process(forker: Forker, tmp_path: Path) -> None:
    folder = hostile.write(tmp_path, {})
    checked, runtime = isolated(forker, folder)
    here = loading.load(hostile.spec(folder, private=False))
    np.testing.assert_allclose(checked.run(hf_folders.TEXTS), here.run(hf_folders.TEXTS), atol=1e-6)
    assert checked.weights_bytes == here.weights_bytes > 0
    assert pid_of(runtime) != os.getpid()


def test_its_texts_are_read_and_cut_as_in_this_process(forker: Forker, tmp_path: Path) -> None:
    folder = hostile.write(tmp_path, {})
    checked, _ = isolated(forker, folder)
    here = loading.load(hostile.spec(folder, private=False))
    assert checked.max_tokens == here.max_tokens == hf_folders.POSITIONS
    long = "the blue lamp " * 40
    for truncate in (REFUSE, TO_LIMIT, 7):
        ours = here.read([hostile.HARMLESS, long], [truncate, truncate])
        theirs = checked.read([hostile.HARMLESS, long], [truncate, truncate])
        assert [one.length for one in theirs] == [one.length for one in ours]
        given, expected = ([one.value for one in found if one.value is not None] for found in (theirs, ours))
        assert len(given) == len(expected) == (1 if truncate == REFUSE else 2)
        np.testing.assert_allclose(checked.run(given), here.run(expected), atol=1e-6)


def test_it_has_no_secret_little_of_anything_and_walls(
    forker: Forker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, runtime = isolated(forker, hostile.write(tmp_path, {}))
    process = Path(f"/proc/{pid_of(runtime)}")
    names = {entry.partition(b"=")[0] for entry in (process / "environ").read_bytes().split(b"\0") if entry}
    assert names <= {b"PATH", b"LANG", b"OMP_NUM_THREADS", b"RAYON_NUM_THREADS", b"TOKENIZERS_PARALLELISM"}
    bounds = {line[:26].strip(): line[26:].split()[0] for line in (process / "limits").read_text().splitlines()}
    assert bounds["Max file size"] == "0"
    assert bounds["Max open files"] == "64"
    assert bounds["Max core file size"] == "0"
    assert int(bounds["Max address space"]) < 4 * 2**30
    assert int(bounds["Max cpu time"]) < 120
    assert set(runtime.walls) == {"landlock", "seccomp"}
    status = (process / "status").read_text()
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status
    handles = {str(handle.readlink()) for handle in (process / "fd").iterdir()}
    assert sum(handle.startswith("socket:") for handle in handles) == 1, "the channel to its worker, and no other"


def test_a_panic_is_a_fault_and_the_process_goes_on(forker: Forker, tmp_path: Path) -> None:
    checked, runtime = isolated(forker, hostile.write(tmp_path, hostile.PANICKING))
    pid = pid_of(runtime)
    with pytest.raises(RuntimeFault, match="PanicException"):
        checked.run([hostile.PANICS])
    assert checked.run([hostile.HARMLESS]).shape == (1, hf_folders.HIDDEN)
    assert pid_of(runtime) == pid


def test_a_batch_that_takes_too_much_processor_ends_its_process_and_the_next_starts_another(
    forker: Forker, tmp_path: Path
) -> None:
    checked, runtime = isolated(forker, hostile.write(tmp_path / "hangs", hostile.HANGING))
    other, neighbour = isolated(forker, hostile.write(tmp_path / "harmless", {}))
    pid, neighbours_pid = pid_of(runtime), pid_of(neighbour)
    with pytest.raises(LimitBroken, match="more processor time than it may"):
        checked.run([hostile.HANGS])
    assert gone(pid)
    assert checked.run([hostile.HARMLESS]).shape == (1, hf_folders.HIDDEN)
    assert pid_of(runtime) != pid
    assert other.run([hostile.HARMLESS]).shape == (1, hf_folders.HIDDEN)
    assert pid_of(neighbour) == neighbours_pid


def test_a_batch_that_takes_too_long_on_the_clock_ends_its_process(forker: Forker, tmp_path: Path) -> None:
    limits = ComputeLimits(memory_bytes=LIMITS.memory_bytes, cpu_s=60, wall_s=0.5, load_s=60.0)
    checked, runtime = isolated(forker, hostile.write(tmp_path, hostile.HANGING), limits)
    pid = pid_of(runtime)
    with pytest.raises(LimitBroken, match=r"longer than 0\.5 s"):
        checked.run([hostile.HANGS])
    assert gone(pid)


def test_a_batch_that_takes_too_much_memory_ends_its_process(forker: Forker, tmp_path: Path) -> None:
    limits = ComputeLimits(memory_bytes=LIMITS.memory_bytes, cpu_s=60, wall_s=120.0, load_s=120.0)
    checked, runtime = isolated(forker, hostile.write(tmp_path, hostile.GROWING), limits)
    pid = pid_of(runtime)
    with pytest.raises(LimitBroken, match="more memory than it may"):
        checked.run([hostile.GROWS])
    assert gone(pid)
    assert checked.run([hostile.HARMLESS]).shape == (1, hf_folders.HIDDEN)


def test_a_model_that_does_not_load_says_why(forker: Forker, tmp_path: Path) -> None:
    folder = hostile.write(tmp_path, {})
    (folder / "config.json").write_text("{}")
    with pytest.raises(LoadError, match=r"config\.json"):
        isolated(forker, folder)


def test_a_process_that_is_killed_is_started_again(forker: Forker, tmp_path: Path) -> None:
    checked, runtime = isolated(forker, hostile.write(tmp_path, {}))
    os.kill(pid_of(runtime), signal.SIGKILL)
    with pytest.raises(LimitBroken, match="was killed"):
        checked.run([hostile.HARMLESS])
    assert checked.run([hostile.HARMLESS]).shape == (1, hf_folders.HIDDEN)


def test_without_the_process_that_forks_its_children_end_and_another_is_started(tmp_path: Path) -> None:
    own = Forker()
    try:
        checked, runtime = isolated(own, hostile.write(tmp_path, {}))
        child, parent = pid_of(runtime), own.pid
        assert parent is not None
        os.kill(parent, signal.SIGKILL)
        until(lambda: gone(child), bool)
        with pytest.raises(RuntimeFault):
            checked.run([hostile.HARMLESS])
        assert checked.run([hostile.HARMLESS]).shape == (1, hf_folders.HIDDEN)
        assert own.pid not in {None, parent}
    finally:
        own.stop()


def test_a_version_that_is_dropped_takes_its_process_with_it(forker: Forker, tmp_path: Path) -> None:
    checked, runtime = isolated(forker, hostile.write(tmp_path, {}))
    pid = pid_of(runtime)
    del checked, runtime
    until(lambda: gone(pid), bool)


def test_a_result_of_another_size_than_declared_reaches_no_call() -> None:
    """The process is believed no more than the model in it."""
    row = np.zeros((1, 3), dtype="<f4")
    for answer in (
        frames.Rows("<f4", (1, 3), row.tobytes()),
        frames.Rows("<f8", (1, 2), row.tobytes()),
        frames.Rows("<f4", (2, 2), row.tobytes()),
        frames.Rows("<f4", (4,), row.tobytes()),
    ):
        with pytest.raises(ValueError, match=r"result of|reshape|size"):
            frames.rows_of(answer, outputs=2)
