"""Three small real models that take what is neither text nor numbers: an image, and two texts."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from inference.models import ModelVersion
from inference.registry import artefacts
from inference.runtimes import loading
from inference.runtimes.protocol import Array, Input, RuntimeSpec
from inference.worker.loaded_models import key_of
from tests.support import hf_folders
from tests.support.tiny_model import TinyWorker, make_version

SIDE = 8
IMAGE: Mapping[str, Any] = {"kind": "image", "height": SIDE, "width": SIDE, "channels": 3, "resize": "stretch"}
PAIR: Mapping[str, Any] = {"kind": "pair", "max_chars": 200}


@dataclass(frozen=True)
class Kinds:
    """``photos`` tells dark from light, ``entails`` puts pairs of texts into three classes, ``rerank`` gives them a score."""

    loaded: Mapping[str, loading.CheckedRuntime]

    def answer(self, model: str, value: Input) -> Array:
        """What the loaded model itself says."""
        row: Array = self.loaded[model].run([value])[0]
        return row


@pytest.fixture
def kinds(tiny_worker: TinyWorker, tmp_path: Path) -> Kinds:
    """The models, live and held by the worker."""
    folders = {name: tmp_path / name for name in ("photos", "entails", "rerank")}
    folders["photos"].mkdir()
    save_file(
        hf_folders.draw(hf_folders.linear("layers.0", 3 * SIDE * SIDE, 2)), folders["photos"] / "model.safetensors"
    )
    hf_folders.write(folders["entails"], "bert", outputs=3)
    hf_folders.write(folders["rerank"], "roberta", outputs=1)
    made = {
        "photos": _version(folders, "photos", "image-classification", IMAGE, ["dark", "light"]),
        "entails": _version(folders, "entails", "pair-classification", PAIR, ["yes", "no", "neither"]),
        "rerank": _version(folders, "rerank", "pair-scoring", PAIR, []),
    }
    loaded = {}
    for name, version in made.items():
        version.card = {"options": {"architecture": "mlp"}} if name == "photos" else {}
        spec = tiny_worker.worker.spec(version)
        spec = RuntimeSpec(**{slot: getattr(spec, slot) for slot in spec.__slots__} | {"artefact": folders[name]})
        loaded[name] = loading.load(spec)
        tiny_worker.worker.models.put(key_of(version.pk, version.sha256), loaded[name])
    return Kinds(loaded)


def _version(
    folders: Mapping[str, Path], name: str, runtime: str, schema: Mapping[str, Any], labels: list[str]
) -> ModelVersion:
    return make_version(
        name,
        runtime=runtime,
        input_schema=dict(schema),
        labels=labels,
        output_schema={"kind": "classification"} if labels else {"kind": "scores", "dimensions": 1},
        digest=artefacts.digest(folders[name]),
    )


def picture() -> Any:
    """uint8 [SIDE, SIDE, 3]."""
    return np.random.RandomState(5).randint(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def file_of(pixels: Any, form: str = "PNG", **more: Any) -> bytes:
    """An image file with these pixels."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, form, **more)
    return written.getvalue()
