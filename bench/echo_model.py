"""Installs ``echo``, a model that gives back what it gets, so that what is measured is the way there and back.

``python -m bench.echo_model`` does it in the product's environment.
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.processes import ROOT

NAME: Final = "echo"
NUMBERS: Final = 8


def install(env: Mapping[str, str], *, root: Path = ROOT) -> None:
    """Install it, once, in the product of this environment and checkout. Raises RuntimeError when that fails."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.echo_model"], cwd=root, env=dict(env), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"The model {NAME} could not be installed: {done.stderr[-2000:]}")


def main() -> None:
    """Run in the product's environment, on its database and in its models folder."""
    import django

    django.setup()
    import numpy as np
    from django.conf import settings
    from safetensors.numpy import save_file

    from inference.models import MLModel
    from inference.registry import versions

    if MLModel.objects.filter(name=NAME).exists():
        return  # by a scenario before
    folder = Path(settings.MODELS_DIR) / NAME / "1.0.0"
    folder.mkdir(parents=True)
    # There are no weights; the registry wants a file whose digest it can keep.
    save_file({"nothing": np.zeros(1, dtype=np.float32)}, folder / "model.safetensors")
    version = versions.stage(
        model=MLModel.objects.create(name=NAME, title="Echo"),
        version="1.0.0",
        artefact_path=f"{NAME}/1.0.0",
        runtime="tensor-echo",
        input_schema={"kind": "tensor", "dtype": "float32", "shape": [NUMBERS]},
        output_schema={"kind": "embedding", "dimensions": NUMBERS},
        labels=[],
        max_batch_size=64,
    )
    versions.mark_verified(version_id=version.pk, error="")
    versions.promote(version=version, before_workers=True)


if __name__ == "__main__":
    main()
