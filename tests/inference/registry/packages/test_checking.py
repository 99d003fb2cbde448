"""Real zips and folders, honest and hostile, through the real limited process."""

import io
import json
import os
import pickle
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference.registry import artefacts
from inference.registry.packages import check as in_process
from inference.registry.packages import checking
from inference.registry.packages.checking import Checked
from inference.registry.packages.limits import Limits
from inference.registry.packages.problems import PackageError
from mlplatform.lib.errors import ErrorKind, PlatformError
from mlplatform.run.environment import ROOT
from tests.support import packages

LIMITS = Limits(max_bytes=4 * 1024 * 1024, cpu_s=20, wall_s=60)

Check = Callable[[bytes | Path], dict[str, Any]]
CheckApart = Callable[..., Checked]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.fixture
def check(tmp_path: Path, target: Path) -> Check:
    """What the limited process does, in this one: a process for each case would take most of a second."""

    def run(package: bytes | Path) -> dict[str, Any]:
        return in_process.check(_as_path(package, tmp_path), target, LIMITS, trusted=False)

    return run


@pytest.fixture
def check_apart(tmp_path: Path, target: Path) -> CheckApart:
    """As the product does it."""

    def run(package: bytes | Path, limits: Limits = LIMITS) -> Checked:
        return checking.check(source=_as_path(package, tmp_path), target=target, limits=limits, trusted=False)

    return run


def _as_path(package: bytes | Path, folder: Path) -> Path:
    if isinstance(package, Path):
        return package
    (folder / "package.zip").write_bytes(package)
    return folder / "package.zip"


def archive(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    """The honest package with further entries before it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for info, data in [*entries, *packages.files().items()]:
            made.writestr(info, data)
    return buffer.getvalue()


def info(name: str, mode: int) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    return made


def test_a_zip_and_a_folder_of_the_same_files_are_the_same(
    check_apart: CheckApart, target: Path, tmp_path: Path
) -> None:
    checked = check_apart(packages.zipped())
    assert checked.card.reference == "shapes@1.0.0"
    assert checked.digest == artefacts.digest(target)
    assert checked.size_bytes == sum(len(content) for content in packages.files().values())
    assert {path.name: path.read_bytes() for path in target.iterdir()} == packages.files()
    again = tmp_path / "again"
    again.mkdir()
    folder = packages.folder(tmp_path / "folder")
    assert checking.check(source=folder, target=again, limits=LIMITS, trusted=False).digest == checked.digest


def test_a_folder_around_everything_is_left_out(check: Check, target: Path) -> None:
    check(packages.zipped(prefix="shapes-1/"))
    assert {path.name for path in target.iterdir()} == set(packages.files())


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        "/etc/evil.json",
        "a/../../evil.json",
        "a//b.json",
        "./b.json",
        "C:evil.json",
        "a\\b.json",
        ".hidden.json",
        "__MACOSX/x.json",
        "a/b/c/d/e.json",
        "a\nb.json",
        "n" * 201 + ".json",
        "weights.pt",
        "pytorch_model.bin",
        "model.pkl",
        "run.py",
        "LICENSE",
        "e\u0301.json",
        "lib.so",
    ],
)
def test_names_that_are_not_acceptable(check: Check, target: Path, name: str) -> None:
    with pytest.raises(PackageError) as refused:
        check(archive((name, b"{}")))
    assert refused.value.place.strip("'\"").startswith(repr(name)[1:40].rstrip("'"))
    assert not any(target.parent.rglob("*evil*"))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([("Model.toml", b"x")], "twice"),
        ([("a.json", b"{}"), ("A.json", b"{}")], "twice"),
        ([("model.toml.json", b"{}"), ("model.toml.json/b.json", b"{}")], "lies in it"),
        ([(info("link.json", stat.S_IFLNK | 0o777), b"/etc/passwd")], "link"),
        ([(info("pipe.json", stat.S_IFIFO | 0o666), b"")], "link or another special"),
        ([(f"{number}.json", b"{}") for number in range(70)], "more than 64 files"),
        ([(f"{number}.json", b"{}") for number in range(3000)], "more than 64 files"),
        ([("zeros.json", b"0" * 3_000_000)], "zip bomb"),
        ([("empty.json", b"")], "empty"),
    ],
)
def test_entries_that_are_not_acceptable(
    check: Check, target: Path, entries: list[tuple[zipfile.ZipInfo | str, bytes]], reason: str
) -> None:
    with pytest.raises(PackageError, match=reason):
        check(archive(*entries))
    assert not (target / "link.json").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_there_twice(check: Check) -> None:
    with pytest.raises(PackageError, match="twice"):
        check(archive(("network.safetensors", b"first")))


def test_a_claim_of_few_bytes_does_not_let_many_through(check: Check, target: Path) -> None:
    """The sizes in both headers are forged: what comes out is counted."""
    content = os.urandom(200_000)
    made = archive(("notes.txt", content))
    size = struct.pack("<L", len(content))
    assert made.count(size) == 2
    with pytest.raises(PackageError):
        check(made.replace(size, struct.pack("<L", 100)))
    assert sum(path.stat().st_size for path in target.rglob("*")) < 10_000


def test_more_bytes_than_a_model_may_have(check: Check, target: Path) -> None:
    many = [(f"{number}.txt", os.urandom(900_000)) for number in range(5)]
    with pytest.raises(PackageError, match="at most 4,194,304"):
        check(archive(*many))
    assert not list(target.iterdir())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda zipped: b"",
        lambda zipped: b"PK\x03\x04",
        lambda zipped: b"\x80\x04" + zipped,
        lambda zipped: b"#!/bin/sh\n" + zipped,
        lambda zipped: zipped[: len(zipped) // 2],
        lambda zipped: zipped + b"more",
        lambda zipped: zipped[:60] + b"\xff" * 20 + zipped[80:],
        lambda zipped: pickle.dumps({"weights": [1, 2, 3]}),
    ],
)
def test_what_is_no_whole_zip(check: Check, spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(PackageError):
        check(spoil(packages.zipped()))


def test_places_before_the_beginning_and_names_of_nothing(check: Check) -> None:
    """What zipfile answers with errors of its own kind is no failure of ours."""
    shifted = bytearray(packages.zipped())
    shifted[-6] += 1  # the directory claims to lie one byte later, so every file begins one byte before its place
    with pytest.raises(PackageError, match="cannot be read"):
        check(bytes(shifted))
    nameless = bytearray(archive(("notes.txt", b"{}")))
    entry = nameless.index(b"PK\x01\x02")
    nameless[entry + 28], nameless[entry + 32] = 0, len("notes.txt")  # the name is said to be a comment
    with pytest.raises(PackageError):
        check(bytes(nameless))


def test_encryption_other_methods_and_64_bits(check: Check) -> None:
    encrypted = bytearray(packages.zipped())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(signature) + offset] |= 1
    with pytest.raises(PackageError, match="encrypted"):
        check(bytes(encrypted))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as made:
        for name, data in packages.files().items():
            made.writestr(name, data)
    with pytest.raises(PackageError, match="deflate"):
        check(buffer.getvalue())
    plain = packages.zipped()
    with pytest.raises(PackageError, match="64-bit"):
        check(plain[:-22] + b"PK\x06\x07" + b"\0" * 16 + plain[-22:])


class Evil:
    """Would write a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["network.safetensors", "config.json", "notes.txt", "README.md", "example.png"])
def test_a_pickle_under_an_honest_name(check: Check, tmp_path: Path, name: str) -> None:
    content = packages.files() | {name: pickle.dumps(Evil(tmp_path / "owned"))}
    with pytest.raises(PackageError) as refused:
        check(packages.zipped(content))
    assert refused.value.place == name
    assert not (tmp_path / "owned").exists()


def header(**entry: object) -> bytes:
    return json.dumps({"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | entry}).encode()


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (b"", "empty"),
        (b"1234", "impossible length"),
        (struct.pack("<Q", 2**63) + b"{}", "impossible length"),
        (packages.raw_safetensors(b"[1, 2]", b""), "no object"),
        (packages.raw_safetensors(b'{"__metadata__": {}}', b""), "no tensors"),
        (packages.raw_safetensors(b'{"__metadata__": {"a": 1}}', b""), "no texts"),
        (packages.raw_safetensors(b"{" * 90_000, b""), "not JSON|deeply"),
        (packages.raw_safetensors(b'{"a":' + b"[" * 90_000, b""), "deeply"),
        (packages.raw_safetensors(header(), b"1234more"), "end where the file ends"),
        (packages.raw_safetensors(header(), b"12"), "end where the file ends"),
        (packages.raw_safetensors(header(dtype="PY"), b"1234"), "unknown"),
        (packages.raw_safetensors(header(shape=[2]), b"1234"), "do not agree"),
        (packages.raw_safetensors(header(shape=[-1]), b"1234"), "natural"),
        (packages.raw_safetensors(header(data_offsets=[4, 8]), b"1234abcd"), "overlap"),
        (packages.raw_safetensors(header(code="import os"), b"1234"), "nothing else"),
        (packages.raw_safetensors(b"{" + header()[1:-1] + b", " + header()[1:-1] + b"}", b"1234"), "twice"),
        (packages.raw_safetensors(header(shape=[1] * 100_000), b"1234"), "do not agree"),
    ],
)
def test_weights_that_are_no_safetensors(check: Check, tmp_path: Path, weights: bytes, reason: str) -> None:
    folder = packages.folder(tmp_path / "folder", packages.files() | {"network.safetensors": weights})
    with pytest.raises(PackageError, match=reason) as refused:
        check(folder)
    assert refused.value.place.startswith("network.safetensors")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({}, "model.toml"),
        ({"model.toml": packages.CARD.encode()}, "model.safetensors"),
        (packages.files() | {"config.json": b'{"a": NaN}'}, "config.json"),
        (packages.files() | {"config.json": b"[" * 100_000}, "config.json"),
        (packages.files() | {"config.json": b"\xff{}"}, "config.json"),
        (packages.files() | {"model.toml": b"name = 1"}, "model.toml: runtime"),
        (packages.files() | {"photo.jpg": b"\x89PNG\r\n\x1a\n1234"}, "photo.jpg"),
    ],
)
def test_folders_that_are_no_package(check: Check, tmp_path: Path, content: dict[str, bytes], place: str) -> None:
    with pytest.raises(PackageError) as refused:
        check(packages.folder(tmp_path / "folder", content))
    assert refused.value.place == place


def test_links_pipes_and_deep_folders_of_a_folder(check: Check, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    linked = packages.folder(tmp_path / "linked")
    (linked / "more.json").symlink_to(secret)
    with pytest.raises(PackageError, match="link"):
        check(linked)
    piped = packages.folder(tmp_path / "piped")
    os.mkfifo(piped / "more.json")
    with pytest.raises(PackageError, match="regular file"):
        check(piped)
    deep = packages.folder(tmp_path / "deep", packages.files() | {"a/b/c/d/e.json": b"{}"})
    with pytest.raises(PackageError, match="deep"):
        check(deep)


def test_what_takes_too_much_memory_or_time_is_refused(check_apart: CheckApart, tmp_path: Path) -> None:
    greedy = packages.folder(tmp_path / "greedy", packages.files() | {"big.json": b"[" + b"[]," * 1_000_000 + b"[]]"})
    with pytest.raises(PackageError, match="memory"):
        check_apart(greedy, Limits(max_bytes=4 * 1024 * 1024, memory_bytes=60 * 1024 * 1024))
    with pytest.raises(PackageError, match="took longer"):
        check_apart(greedy, Limits(max_bytes=4 * 1024 * 1024, wall_s=0))


def test_the_process_says_what_is_wrong(check_apart: CheckApart) -> None:
    with pytest.raises(PackageError) as refused:
        check_apart(archive(("../evil.json", b"{}")))
    assert refused.value.place == "../evil.json"
    assert refused.value.reason == "The name leads out of the package."


def test_a_check_that_cannot_run_is_no_verdict_on_the_package(check_apart: CheckApart, tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as failed:
        check_apart(tmp_path / "nowhere")
    assert failed.value.kind is ErrorKind.UNAVAILABLE


def test_the_process_knows_no_secret_and_loads_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment has nothing of ours, its limits are hard, and neither Django nor torch is in it."""
    monkeypatch.setenv("SECRET_KEY", "canary-secret")
    seen: dict[str, dict[str, str]] = {}
    real = subprocess.run

    def spy(*args: object, **kwargs: object) -> object:
        seen.update(kwargs)  # type: ignore[arg-type]
        return real(*args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", spy)
    (tmp_path / "target").mkdir()
    checking.check(
        source=packages.folder(tmp_path / "folder"), target=tmp_path / "target", limits=LIMITS, trusted=False
    )
    assert set(seen["env"]) == {"PATH", "LANG"}
    program = (
        "import json, resource, sys\n"
        "from inference.registry.packages import check\n"
        "from inference.registry.packages.limits import Limits\n"
        "Limits(max_bytes=1000, open_files=32).apply()\n"
        "print(json.dumps([resource.getrlimit(resource.RLIMIT_FSIZE), resource.getrlimit(resource.RLIMIT_NOFILE),"
        " [name for name in ('django', 'torch', 'numpy', 'pickle') if name in sys.modules]]))"
    )
    done = real([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[1000, 1000], [32, 32], []]
