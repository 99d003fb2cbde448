"""What a worker holds in memory: within its budget, what is wanted last to go, and each version loaded once."""

import datetime as dt
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference.models import MLModel, ModelVersion
from inference.runtimes import loading, memory
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import Array, Input, LoadError, RuntimeSpec
from inference.worker.loaded_models import LoadedModels, key_of
from inference.worker.shares import NoRoom, OverQuota, Share
from mlplatform.lib import clock

MB = 2**20


class Heavy:
    """A model of as many bytes as its version's number says, in MB."""

    def __init__(self, size_mb: int) -> None:
        self.weights = torch.zeros(size_mb * MB // 4)
        self.view = self.weights[:10]

    def load(self, spec: RuntimeSpec) -> None: ...

    def warmup(self) -> None: ...

    def forward(self, inputs: Sequence[Input]) -> Array:
        return np.zeros((len(inputs), 2), dtype=np.float32)


Heavy.__module__ = "inference.runtimes.heavy"  # as the product's own runtimes, whose attributes are looked into


@dataclass
class Shelf:
    """Versions whose weights have a size, and the loads that were asked for."""

    models: LoadedModels
    folder: Path
    loads: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    shares: dict[str, Share] = field(default_factory=dict)

    def version(self, name: str, size_mb: int = 1) -> ModelVersion:
        """A version that was not saved, with weights on disk."""
        (self.folder / name).mkdir(exist_ok=True)
        with (self.folder / name / "model.safetensors").open("wb") as file:
            file.truncate(size_mb * MB)
        return ModelVersion(model=MLModel(name=name), version="1.0.0", sha256=name * 8, max_batch_size=8)

    def held(self) -> list[str]:
        return [model.reference.partition("@")[0] for model in self.models.report()]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Room for 10 MB."""
    return make_shelf(tmp_path, monkeypatch)


def make_shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    models = LoadedModels(
        device="cpu",
        budget_bytes=10 * MB,
        spec_of=lambda version: spec_of(version),
        share_of=lambda version, _: made.shares.get(version.model.name),
    )
    made = Shelf(models, tmp_path)

    def spec_of(version: ModelVersion) -> RuntimeSpec:
        return RuntimeSpec(
            name=version.model.name, version="1.0.0", runtime="text-classification", artefact=tmp_path / version.model.name,
            digest=version.sha256, outputs=2, input_schema={"kind": "text"}, max_batch_size=8, device="cpu",
        )  # fmt: skip

    def load(spec: RuntimeSpec, *, runtime: object = None) -> CheckedRuntime:
        made.loads.append(spec.name)
        if spec.name in made.broken:
            raise LoadError("these weights do not fit")
        size = (spec.artefact / "model.safetensors").stat().st_size // MB
        return CheckedRuntime(spec, Heavy(size))

    monkeypatch.setattr("inference.runtimes.loading.load", load)
    return made


def test_weights_are_measured_and_views_of_them_count_once(shelf: Shelf) -> None:
    loaded = shelf.models.get(shelf.version("a", 3))
    assert loaded.size_bytes == memory.weights_bytes(loaded.runtime) == 3 * MB


@pytest.mark.filterwarnings("ignore")  # of torch, about the way in which it quantises in later releases
def test_quantised_layers_are_measured_too() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(256, 256))
    small = torch.ao.quantization.quantize_dynamic(layer, {torch.nn.Linear}, dtype=torch.qint8)
    assert memory.weights_bytes(layer) == 4 * (256 * 256 + 256)
    assert 256 * 256 <= memory.weights_bytes(small) < 2 * 256 * 256


def test_what_is_in_memory_is_not_loaded_again(shelf: Shelf) -> None:
    version = shelf.version("a")
    assert shelf.models.find(key_of(version.pk, version.sha256)) is None
    first = shelf.models.get(version)
    assert shelf.models.get(version) is first is shelf.models.find(key_of(version.pk, version.sha256))
    assert shelf.loads == ["a"]


def test_versions_of_one_artefact_are_held_apart(shelf: Shelf) -> None:
    """They may run it in other precisions, and a canary must not be compared with itself."""
    exact, small = shelf.version("a"), shelf.version("a")
    exact.pk, small.pk = 1, 2
    assert exact.sha256 == small.sha256
    assert shelf.models.get(exact) is not shelf.models.get(small)
    assert shelf.loads == ["a", "a"]


def test_the_least_recently_used_makes_room(shelf: Shelf) -> None:
    a, b, c = (shelf.version(name, 4) for name in "abc")
    shelf.models.get(a)
    shelf.models.get(b)
    shelf.models.find(key_of(a.pk, a.sha256))
    shelf.models.get(c)
    assert shelf.held() == ["a", "c"]


def test_what_is_wanted_goes_last(shelf: Shelf) -> None:
    a, b, c = (shelf.version(name, 4) for name in "abc")
    shelf.models.want([key_of(a.pk, a.sha256)])
    for version in (a, b, c):
        shelf.models.get(version)
    assert shelf.held() == ["a", "c"]
    big = shelf.version("d", 10)
    shelf.models.get(big)
    assert shelf.held() == ["d"]


def test_preparing_does_not_drop_what_is_wanted_too(shelf: Shelf) -> None:
    a, b, c = (shelf.version(name, 4) for name in "abc")
    shelf.models.want([key_of(version.pk, version.sha256) for version in (a, b, c)])
    shelf.models.get(a, spare_wanted=True)
    shelf.models.get(b, spare_wanted=True)
    with pytest.raises(LoadError, match="no room"):
        shelf.models.get(c, spare_wanted=True)
    assert shelf.held() == ["a", "b"]
    assert shelf.loads == ["a", "b"]


def test_what_stands_by_goes_after_what_is_not_needed_and_before_what_is_wanted(shelf: Shelf) -> None:
    live, before, other, fourth = (shelf.version(name, 3) for name in "abcd")
    shelf.models.want([key_of(live.pk, live.sha256)], standby=[key_of(before.pk, before.sha256)])
    shelf.models.get(live, spare_wanted=True)
    shelf.models.get(before, spare_wanted=True)
    shelf.models.get(other)
    shelf.models.get(fourth)
    assert shelf.held() == ["a", "b", "d"]
    shelf.models.get(shelf.version("e", 6))
    assert shelf.held() == ["a", "e"]


def test_what_stands_by_is_prepared_only_where_there_is_room_and_a_call_still_loads_it(shelf: Shelf) -> None:
    live, before, older = (shelf.version(name, 6) for name in "abc")
    keys = {
        name: key_of(version.pk, version.sha256) for name, version in zip("abc", (live, before, older), strict=True)
    }
    shelf.models.want([keys["a"]], standby=[keys["b"], keys["c"]])
    shelf.models.get(before, spare_wanted=True)
    with pytest.raises(NoRoom):
        shelf.models.get(older, spare_wanted=True)
    shelf.models.get(live, spare_wanted=True)
    assert shelf.held() == ["a"], "what is live comes in before what was"
    with pytest.raises(NoRoom):
        shelf.models.get(before, spare_wanted=True)
    shelf.models.get(before)
    assert shelf.held() == ["b"]


def test_what_stands_by_does_not_drop_what_is_used(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pinned version that is called, and a new one that is about to be promoted, would be loaded again and again."""
    live, before, pinned = (shelf.version(name, 4) for name in "abc")
    shelf.models.want([key_of(live.pk, live.sha256)], standby=[key_of(before.pk, before.sha256)])
    shelf.models.get(live, spare_wanted=True)
    shelf.models.get(before, spare_wanted=True)
    shelf.models.get(pinned)
    assert shelf.held() == ["a", "c"]
    with pytest.raises(NoRoom):
        shelf.models.get(before, spare_wanted=True)
    assert shelf.held() == ["a", "c"]
    used = clock.now() + dt.timedelta(seconds=601)
    monkeypatch.setattr(clock, "now", lambda: used)
    shelf.models.get(before, spare_wanted=True)
    assert shelf.held() == ["a", "b"]


def test_nothing_is_dropped_for_what_does_not_fit_all_the_same(shelf: Shelf) -> None:
    live, idle, large = (shelf.version(name, size) for name, size in zip("abc", (4, 4, 8), strict=True))
    shelf.models.want([key_of(version.pk, version.sha256) for version in (live, large)])
    shelf.models.get(live, spare_wanted=True)
    shelf.models.get(idle)
    with pytest.raises(NoRoom):
        shelf.models.get(large, spare_wanted=True)
    assert shelf.held() == ["a", "b"]


def test_to_ask_whether_a_version_is_held_is_no_use_of_it(shelf: Shelf) -> None:
    a, b, c = (shelf.version(name, 4) for name in "abc")
    assert not shelf.models.holds(key_of(a.pk, a.sha256))
    shelf.models.get(a)
    shelf.models.get(b)
    assert shelf.models.holds(key_of(a.pk, a.sha256))
    shelf.models.get(c)
    assert shelf.held() == ["b", "c"]


def test_what_makes_room_is_gone_before_its_memory_is_given_back_and_another_is_read(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[object]] = []
    alive: dict[str, int] = {}

    def note(when: str) -> None:
        alive[when] = sum(each() is not None for each in made)

    load = loading.load

    def noted(spec: RuntimeSpec) -> CheckedRuntime:
        note(f"reading {spec.name}")
        runtime = load(spec)
        made.append(weakref.ref(runtime))
        return runtime

    monkeypatch.setattr(loading, "load", noted)
    monkeypatch.setattr(memory, "free_unused", lambda device: note("giving back"))
    shelf.models.get(shelf.version("a", 6))
    shelf.models.get(shelf.version("b", 6))
    assert alive == {"reading a": 0, "giving back": 0, "reading b": 0}


def test_a_version_larger_than_the_budget_is_refused_and_nothing_makes_room(shelf: Shelf) -> None:
    shelf.models.get(shelf.version("a"))
    with pytest.raises(LoadError, match="WORKER_MEMORY_MB"):
        shelf.models.get(shelf.version("b", 11))
    assert shelf.held() == shelf.loads == ["a"]


def test_a_failure_is_remembered_for_a_while_unless_a_call_insists(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.broken.add("a")
    version = shelf.version("a")
    for _ in range(2):
        with pytest.raises(LoadError, match="do not fit"):
            shelf.models.get(version)
    assert shelf.loads == ["a"]
    assert not any(isinstance(part, BaseException) for kept in shelf.models._table.failed.values() for part in kept), (
        "an exception holds on to the frames, and so to the weights, of its loading"
    )
    shelf.broken.clear()
    shelf.models.get(version, again=True)
    assert shelf.held() == ["a"]


def test_two_threads_that_want_a_version_load_it_once(shelf: Shelf) -> None:
    version = shelf.version("a")
    together = threading.Barrier(4)

    def ask(_: int) -> object:
        together.wait()
        return shelf.models.get(version)

    with ThreadPoolExecutor(4) as pool:
        found = set(map(id, pool.map(ask, range(4))))
    assert len(found) == 1
    assert shelf.loads == ["a"]


@given(st.data())
def test_the_budget_is_kept_whatever_is_asked_for(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("shelf")
    with pytest.MonkeyPatch.context() as patch:
        made = make_shelf(folder, patch)
        versions = [made.version(chr(97 + place), place % 5 + 1) for place in range(8)]
        made.models.want([key_of(each.pk, each.sha256) for each in (versions[0], versions[3])])
        for place in data.draw(st.lists(st.integers(0, 7), max_size=20)):
            used = made.models.get(versions[place])
            held = made.models.report()
            assert sum(model.size_bytes for model in held) <= 10 * MB
            assert used.reference in [model.reference for model in held]


def test_models_of_a_tenant_make_room_for_each_other_and_for_no_other_tenant(shelf: Shelf) -> None:
    """Acme's take 4 MB each of the 9 MB that they may; the fourth has Globex' and those on sale left alone."""
    shelf.shares = {name: Share(1, 4 * MB, 9 * MB) for name in ("a1", "a2", "a3", "a4")} | {
        "g": Share(2, 4 * MB, 9 * MB)
    }
    for name in ("g", "sale", "a1", "a2"):
        shelf.models.get(shelf.version(name))
    assert shelf.held() == ["a1", "a2", "g", "sale"]
    shelf.models.get(shelf.version("a1"))
    shelf.models.get(shelf.version("a3"))
    assert shelf.held() == ["a1", "a3", "g", "sale"], "its own that was not used for longest went"
    shelf.models.want({key_of(None, "a1" * 8)})  # type: ignore[arg-type]  # versions of this test have no row
    shelf.models.get(shelf.version("a4"))
    assert shelf.held() == ["a1", "a4", "g", "sale"], "what is live goes last"
    assert [model.reserved_bytes // MB for model in shelf.models.report()] == [4, 4, 4, 0]


def test_a_tenants_model_is_not_prepared_over_those_of_its_owner_that_are_live(shelf: Shelf) -> None:
    shelf.shares = {name: Share(1, 4 * MB, 9 * MB) for name in ("a1", "a2", "a3")}
    shelf.models.want({key_of(None, name * 8) for name in ("a1", "a2", "a3")})  # type: ignore[arg-type]
    for name in ("a1", "a2"):
        shelf.models.get(shelf.version(name), spare_wanted=True)
    with pytest.raises(OverQuota, match="beside this tenant's other models, which may take 9 MB"):
        shelf.models.get(shelf.version("a3"), spare_wanted=True)
    assert shelf.held() == ["a1", "a2"]
    shelf.models.get(shelf.version("a3"))
    assert shelf.held() == ["a2", "a3"], "a call has the one dropped that was not used for longest"


def test_a_model_that_may_take_more_than_all_of_its_owner_is_not_loaded(shelf: Shelf) -> None:
    shelf.shares = {"huge": Share(1, 10 * MB, 9 * MB), "a1": Share(1, 4 * MB, 9 * MB)}
    shelf.models.get(shelf.version("a1"))
    for _ in range(2):
        with pytest.raises(OverQuota, match="may take 10 MB of memory, and all models of this tenant together 9 MB"):
            shelf.models.get(shelf.version("huge"), again=True)
    assert shelf.held() == ["a1"]
    assert shelf.loads == ["a1"]


def test_a_huge_model_of_a_tenant_never_drops_a_live_one_on_sale(shelf: Shelf) -> None:
    """Where one worker computes both: by default each kind has workers of its own."""
    shelf.shares = {"huge": Share(1, 1 * MB, 900 * MB)}
    shelf.models.want({key_of(None, "sale" * 8)})  # type: ignore[arg-type]
    shelf.models.get(shelf.version("sale", 4))
    shelf.models.get(shelf.version("old", 5))
    with pytest.raises(NoRoom, match="There is no room for huge"):
        shelf.models.get(shelf.version("huge", 8))
    assert shelf.held() == ["old", "sale"], "a refusal drops nothing"
    shelf.models.get(shelf.version("huge", 6))
    assert shelf.held() == ["huge", "sale"]
