"""Models of any architecture that the library transformers has, as an optional extra: `requirements-transformers.txt`.

The library is imported when such a model is loaded and not before: it takes seconds and hundreds of megabytes. Only weights in
safetensors are read, nothing is fetched, and no code that comes with a model is run.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from inference.runtimes import precision
from inference.runtimes.encoder_config import read_json
from inference.runtimes.protocol import LoadError, RuntimeSpec

ARCHITECTURE: Final = "transformers"
_NO_END: Final = 1_000_000


class TextModel:
    """A model of transformers: ids and types [n, longest], lengths [n] → logits, or the last layer's hidden states."""

    def __init__(self, spec: RuntimeSpec, *, headed: bool) -> None:
        self._model = _load(spec, "AutoModelForSequenceClassification" if headed else "AutoModel")
        config = self._model.config
        self._headed = headed
        self._typed = int(getattr(config, "type_vocab_size", 0) or 0) > 1
        self.pad = int(getattr(config, "pad_token_id", 0) or 0)
        self.dimensions = int(getattr(config, "hidden_size", 0) or getattr(config, "dim", 0) or 0)
        most = int(getattr(config, "max_position_embeddings", 0) or _NO_END)
        # RoBERTa's positions begin behind that of its padding; two fewer tokens fit, and others lose nothing that matters.
        self.longest = most - 2 if "roberta" in str(config.model_type) else most
        if headed and config.num_labels != spec.outputs:
            raise LoadError(f"The model gives {config.num_labels} classes, {spec.outputs} were declared.")

    def run(self, ids: Tensor, types: Tensor, lengths: Tensor) -> Tensor:
        """float32 logits [n, outputs], or hidden states [n, longest, dimensions]."""
        mask = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
        more = {"token_type_ids": types} if self._typed else {}
        answer = self._model(input_ids=ids, attention_mask=mask, **more)
        found: Tensor = answer.logits if self._headed else answer.last_hidden_state
        return found.float()


class ImageModel:
    """An image classifier of transformers: normalised pixels [n, channels, height, width] → logits."""

    def __init__(self, spec: RuntimeSpec) -> None:
        self._model = _load(spec, "AutoModelForImageClassification")
        if self._model.config.num_labels != spec.outputs:
            raise LoadError(f"The model gives {self._model.config.num_labels} classes, {spec.outputs} were declared.")

    def __call__(self, pixels: Tensor) -> Tensor:
        """float32 logits [n, outputs]."""
        logits: Tensor = self._model(pixel_values=pixels).logits
        return logits.float()


def load_texts(spec: RuntimeSpec, *, headed: bool) -> TextModel:
    """Raises LoadError where the library is not installed, or cannot read the folder."""
    return TextModel(spec, headed=headed)


def load_images(spec: RuntimeSpec) -> ImageModel:
    """Raises LoadError where the library is not installed, or cannot read the folder."""
    return ImageModel(spec)


def _load(spec: RuntimeSpec, name: str) -> Any:
    config = _checked_config(spec.artefact)
    try:
        library = importlib.import_module("transformers")
    except ImportError as error:
        raise LoadError(
            f"The architecture {config.get('model_type')!r} needs the library transformers on the workers: "
            "pip install -r requirements-transformers.txt."
        ) from error
    try:
        model, report = getattr(library, name).from_pretrained(
            str(spec.artefact),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # the library's failures have no common class
        raise LoadError(f"transformers cannot load it: {type(error).__name__}: {str(error)[:300]}") from error
    # The library draws what a file lacks at random. Only a pooler may be lacking, and only where it is not read.
    missing = sorted(key for key in report["missing_keys"] if name != "AutoModel" or not key.startswith("pooler."))
    if missing:
        raise LoadError(f"The file lacks {len(missing)} tensors of its architecture, such as {missing[0]!r}.")
    # A copy of every weight, because safetensors maps the file into memory and it may change.
    state = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    return precision.lower(model.eval().requires_grad_(requires_grad=False).to(spec.device), spec)


def _checked_config(folder: Path) -> Mapping[str, Any]:
    config = read_json(folder / "config.json")
    if "auto_map" in config:
        raise LoadError("config.json names code of its own (auto_map), which is not run here.")
    return config
