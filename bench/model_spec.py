"""What a runtime must know to load a live model, taken from the product's registry into a file that any process can read.

``python -m bench.model_spec NAME`` runs in the product's environment. :func:`parse` needs no Django, because a peer's
environment loads the same weights by the same runtime class and knows nothing of the product.
"""

import dataclasses
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.processes import ROOT
from inference.runtimes.protocol import RuntimeSpec


class Described(msgspec.Struct, frozen=True):
    """A live model: how its runtime loads it, its labels in the order of its columns, and its row and pool."""

    spec: dict[str, Any]
    labels: list[str]
    version_id: int
    pool: str
    torch_threads: int

    def runtime_spec(self) -> RuntimeSpec:
        return RuntimeSpec(**{**self.spec, "artefact": Path(self.spec["artefact"])})


def read(name: str, env: Mapping[str, str]) -> Described:
    """Ask the product whose environment this is. Raises RuntimeError when it has no such live model."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.model_spec", name], cwd=ROOT, env=dict(env), capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"The model {name} could not be described: {done.stderr.decode()[-2000:]}")
    return parse(done.stdout)


def parse(text: bytes | str) -> Described:
    """Read what :func:`main` printed. Raises msgspec.ValidationError when it is something else."""
    return msgspec.json.decode(text, type=Described)


def main(name: str) -> None:
    """Print the description of the live version."""
    import django

    django.setup()
    from django.conf import settings

    from inference.models import ModelVersion, VersionState
    from inference.registry import artefacts, versions
    from inference.runtimes import devices

    version = ModelVersion.objects.select_related("model").get(
        model__name=name, model__owner__isnull=True, state=VersionState.LIVE
    )
    ref = versions.reference(version)
    folder = versions.artefact_folder(version)
    artefacts.verify(folder, expected=ref.digest)
    spec = RuntimeSpec(
        name=ref.name,
        version=ref.version,
        runtime=ref.runtime,
        artefact=folder,
        digest=ref.digest,
        outputs=ref.outputs,
        input_schema=ref.input_schema,
        max_batch_size=ref.max_batch_size,
        device=devices.resolve(settings.WORKER_DEVICE if version.device == "auto" else version.device),
        precision=version.precision,
        acceleration=version.acceleration,
        options=version.card.get("runtime", {}),
    )
    fields = {each.name: getattr(spec, each.name) for each in dataclasses.fields(spec)}
    described = Described(
        spec={
            **fields,
            "artefact": str(folder),
            "input_schema": dict(spec.input_schema),
            "options": dict(spec.options),
        },
        labels=list(ref.labels),
        version_id=version.pk,
        pool=version.model.pool,
        torch_threads=settings.WORKER_TORCH_THREADS,
    )
    sys.stdout.buffer.write(msgspec.json.encode(described))


if __name__ == "__main__":
    main(sys.argv[1])
