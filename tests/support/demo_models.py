"""The demo models, put together and loaded once for a test process."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from inference.demo import DemoCard, assemble, cards
from inference.registry import artefacts
from inference.runtimes import loading
from inference.runtimes.protocol import RuntimeSpec


def card(name: str, version: str = "1.0.0") -> DemoCard:
    """The card of a demo model version."""
    (found,) = (candidate for candidate in cards() if (candidate.name, candidate.version) == (name, version))
    return found


@cache
def artefact(name: str, version: str = "1.0.0") -> Path:
    """An artefact directory that tests must not change."""
    return assemble(card(name, version), _directory() / name / version)


def spec(name: str, version: str = "1.0.0", *, directory: Path | None = None) -> RuntimeSpec:
    """What the worker would make of the registered version, on a processor; `directory` holds another artefact."""
    demo = card(name, version)
    chosen = directory or artefact(name, version)
    return RuntimeSpec(
        name=name,
        version=version,
        runtime=demo.runtime,
        artefact=chosen,
        digest=artefacts.digest(chosen) if directory else _digest(chosen),
        outputs=demo.outputs,
        input_schema=demo.input_schema,
        max_batch_size=demo.max_batch_size,
        device="cpu",
    )


@cache
def runtime(name: str, version: str = "1.0.0") -> loading.CheckedRuntime:
    """The loaded version."""
    return loading.load(spec(name, version))


@cache
def _digest(directory: Path) -> str:
    return artefacts.digest(directory)


@cache
def _directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="demo-models-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
