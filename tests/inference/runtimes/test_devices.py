from collections.abc import Iterator

import pytest
import torch

from inference.runtimes import devices


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.resolve("auto") == "cuda:0"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.resolve("auto") == "cpu"


def test_a_gpu_by_name_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [devices.resolve(name) for name in ("cuda", "cuda:0", "cuda:1")] == ["cuda:0", "cuda:0", "cuda:1"]
    with pytest.raises(ValueError, match="has 2 CUDA devices"):
        devices.resolve("cuda:2")


@pytest.mark.parametrize("name", ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:x", "cpu:0"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Unknown device"):
        devices.resolve(name)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.configure_threads(2) == torch.get_num_threads() == 2
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3})
    assert devices.configure_threads(0) == torch.get_num_threads() == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    assert devices.configure_threads(0) == torch.get_num_threads() == 1
    with pytest.raises(ValueError, match="negative"):
        devices.configure_threads(-1)
