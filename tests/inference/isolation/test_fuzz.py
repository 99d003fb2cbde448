"""Packages of all eight kinds, damaged at random: each is refused, fails as a model, or works; nothing else happens.

``PACKAGE_FUZZ_CASES=2000 make test-all`` tries as many as a release should; each case names its seed where it fails.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from inference.isolation.forks import Forker
from inference.isolation.isolated import Isolated
from inference.isolation.limits import ComputeLimits
from inference.registry import artefacts
from inference.registry.artefacts import ArtefactError
from inference.registry.packages import contents
from inference.registry.packages.card import Card
from inference.registry.packages.problems import PackageError
from inference.runtimes import examples, loading
from inference.runtimes.protocol import RuntimeFault, RuntimeSpec
from mlplatform.run.environment import ROOT
from tests.support.examples import number

CASES: Final = number(int(os.environ.get("PACKAGE_FUZZ_CASES", "400")))
LIMITS: Final = ComputeLimits(memory_bytes=400 * 2**20, cpu_s=2, wall_s=60.0, load_s=60.0)
EVIL: Final[tuple[Any, ...]] = (
    None, True, -1, 0, 1, 2**31, 2**63, 1e308, -0.5, "", "a" * 5000, "\x00", "../../x", "(a|a)*$", [], {}, [[]], [0] * 1000,
    {"Regex": "a*"}, "float64", "cuda:0",
)  # fmt: skip


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The files of a package of each kind, by its name."""
    folder = tmp_path_factory.mktemp("honest")
    subprocess.run([sys.executable, "docs/examples/make_models.py", str(folder)], cwd=ROOT, check=True)
    return {
        package.name: {file.name: file.read_bytes() for file in sorted(package.iterdir())}
        for package in sorted((folder / "1.0.0").iterdir())
    }


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    made = Forker()
    yield made
    made.stop()


def damaged(files: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
    """The package with one to three things wrong."""
    files = dict(files)
    for _ in range(chance.randint(1, 3)):
        name = chance.choice(sorted(files))
        files[name] = damage(name, files[name], chance)
    return files


def damage(name: str, content: bytes, chance: random.Random) -> bytes:
    if name.endswith(".json") and chance.random() < 0.7:
        try:
            return json.dumps(replaced(json.loads(content), chance)).encode()
        except ValueError:
            pass  # It was damaged before.
    if name.endswith(".safetensors") and chance.random() < 0.6 and len(content) > 16:
        length = int.from_bytes(content[:8], "little")
        try:
            header = json.dumps(replaced(json.loads(content[8 : 8 + length]), chance)).encode()
            return len(header).to_bytes(8, "little") + header + content[8 + length :]
        except ValueError:
            pass
    if name.endswith(".toml") and chance.random() < 0.6:
        lines = content.decode(errors="replace").splitlines()
        place = chance.randrange(len(lines))
        key, is_pair, _ = lines[place].partition(" = ")
        lines[place] = f"{key} = {json.dumps(chance.choice(EVIL[1:]))}" if is_pair else ""
        return "\n".join(lines).encode()
    return scrambled(content, chance)


def replaced(value: Any, chance: random.Random) -> Any:
    """JSON with one value replaced, somewhere."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(sorted(value))
        return {**value, key: replaced(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        return [*value[:place], replaced(value[place], chance), *value[place + 1 :]]
    return chance.choice(EVIL)


def scrambled(content: bytes, chance: random.Random) -> bytes:
    match chance.randrange(4):
        case 0:
            return content[: chance.randrange(len(content) + 1)]
        case 1:
            return content + chance.randbytes(chance.randint(1, 64))
        case 2:
            place = chance.randrange(len(content) + 1)
            return content[:place] + chance.randbytes(chance.randint(1, 16)) + content[place + 8 :]
        case _:
            scrambling = bytearray(content)
            for _ in range(chance.randint(1, 8)):
                if scrambling:
                    scrambling[chance.randrange(len(scrambling))] = chance.randrange(256)
            return bytes(scrambling)


def tried(folder: Path, forker: Forker) -> str:
    """What becomes of the package, as at a tenant's push and its verification."""
    try:
        card = contents.check(folder, trusted=False)
        digest = contents.digest(folder)
    except PackageError as error:
        return "refused" if error.place and error.reason else "refused without a word"
    try:
        runtime = loading.load(spec_of(card, folder, digest), runtime=Isolated(LIMITS, forker))
        examples.check(runtime, card, folder)
    except (RuntimeFault, ArtefactError):
        return "failed"
    return "worked"


def spec_of(card: Card, folder: Path, digest: str) -> RuntimeSpec:
    return RuntimeSpec(
        name=card.name,
        version=card.version,
        runtime=card.runtime,
        artefact=folder,
        digest=digest,
        outputs=int(card.output_schema.get("dimensions", 0)) or len(card.labels),
        input_schema=card.input_schema,
        max_batch_size=card.serving.max_batch_size,
        device="cpu",
        precision=card.serving.precision,
        private=True,
        options=card.options,
    )


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_honest_packages_work(honest: dict[str, dict[str, bytes]], forker: Forker, tmp_path: Path) -> None:
    assert len(honest) == 8
    for name, files in honest.items():
        folder = write(tmp_path / name, files)
        assert artefacts.digest(folder)
        assert tried(folder, forker) == "worked", name


@pytest.mark.property
@pytest.mark.parametrize("kind", range(8))
def test_damaged_packages_hurt_nothing(
    honest: dict[str, dict[str, bytes]], forker: Forker, tmp_path: Path, kind: int
) -> None:
    name = sorted(honest)[kind]
    before = forker.pid
    seen: dict[str, int] = {}
    for case in range(CASES // 8):
        seed = f"{name}-{case}"
        files = damaged(honest[name], random.Random(seed))
        try:
            outcome = tried(write(tmp_path / seed, files), forker)
        except BaseException as error:
            raise AssertionError(f"the case {seed} ended as nothing that is declared") from error
        seen[outcome] = seen.get(outcome, 0) + 1
    assert before is None or forker.pid == before, "the process that forks was lost"
    assert seen.keys() <= {"refused", "failed", "worked"}, seen
    assert seen.get("refused", 0) > 0, seen
