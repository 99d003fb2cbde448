"""Tiny models in the folder layout of Hugging Face, with weights drawn from a fixed stream of numbers.

``python -m tests.support.hf_folders FILE`` writes what the libraries transformers and torchvision answer for them, which are
not installed beside the product; the tests compare with that file.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

HIDDEN, INNER, LAYERS, HEADS, POSITIONS = 16, 24, 2, 2, 40
WORDS = [
    "a", "the", "lamp", "blue", "red", "is", "was", "good", "bad", "very", "not", "cat", "sat", "on", "mat", "who", "where",
    "delivery", "late", "quick", ",", ".", "?",
]  # fmt: skip
FAMILIES = ("bert", "distilbert", "roberta", "electra")
TEXTS = [
    "the blue lamp is very good .",
    "bad",
    "the delivery was late , very late , not good . " * 6,
    "unheard words ?",
]
PAIRS = [("where is the cat ?", "the cat sat on the mat ."), ("who ?", "a red lamp"), ("a " * 50, "the lamp " * 30)]

Weights = dict[str, np.typing.NDArray[np.float32]]


def write(folder: Path, family: str, *, outputs: int = 0, prefixed: bool = True) -> Path:
    """A model of the family; with a classifier where there are outputs. ``prefixed`` as models with a head are saved."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["<s>", "<pad>", "</s>", "<unk>"] if family == "roberta" else ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    (folder / "config.json").write_text(json.dumps(config(family, len(vocabulary), outputs)))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(family, vocabulary)))
    shapes = encoder_shapes(family, len(vocabulary))
    named = {f"{family}.{name}" if prefixed else name: shape for name, shape in shapes.items()}
    if outputs:
        named |= head_shapes(family, outputs)
    save_file(draw(named), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def draw(shapes: Mapping[str, tuple[int, ...]], seed: int = 7) -> Weights:
    """Numbers for each tensor, by name; norms stay near one, so that something is left to normalise."""
    stream = np.random.RandomState(seed)
    weights = {}
    for name in sorted(shapes):
        values = stream.standard_normal(shapes[name]) * 0.35
        if name.endswith("running_var"):
            values = np.abs(values) + 0.5
        elif "norm" in name.lower() or "bn" in name:
            values = values + (1.0 if name.endswith("weight") else 0.0)
        weights[name] = values.astype(np.float32)
    return weights


def config(family: str, vocabulary: int, outputs: int) -> dict[str, Any]:
    """A `config.json`."""
    common: dict[str, Any] = {"model_type": family, "vocab_size": vocabulary, "max_position_embeddings": POSITIONS}
    if outputs:
        common["id2label"] = {str(number): f"LABEL_{number}" for number in range(outputs)}
        common["label2id"] = {f"LABEL_{number}": number for number in range(outputs)}
    if family == "distilbert":
        return common | {
            "dim": HIDDEN, "hidden_dim": INNER, "n_layers": LAYERS, "n_heads": HEADS, "activation": "gelu", "pad_token_id": 0,
        }  # fmt: skip
    common |= {
        "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "type_vocab_size": 2, "pad_token_id": 0,
    }  # fmt: skip
    if family == "roberta":
        common |= {
            "type_vocab_size": 1,
            "pad_token_id": 1,
            "layer_norm_eps": 1e-5,
            "bos_token_id": 0,
            "eos_token_id": 2,
        }
    if family == "electra":
        common["embedding_size"] = HIDDEN // 2
    return common


def tokenizer(family: str, vocabulary: Mapping[str, int]) -> dict[str, Any]:
    """A `tokenizer.json` that splits at spaces."""
    if family == "roberta":
        first, end, unknown = "<s>", "</s>", "<unk>"
        processor = {"type": "RobertaProcessing", "sep": [end, 2], "cls": [first, 0], "trim_offsets": True,
                     "add_prefix_space": False}  # fmt: skip
    else:
        first, end, unknown = "[CLS]", "[SEP]", "[UNK]"
        processor = {"type": "BertProcessing", "sep": [end, 3], "cls": [first, 2]}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": processor, "decoder": None,
        "model": {"type": "WordLevel", "vocab": dict(vocabulary), "unk_token": unknown},
    }  # fmt: skip


def encoder_shapes(family: str, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """The tensors of an encoder without a prefix."""
    width = HIDDEN // 2 if family == "electra" else HIDDEN
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (vocabulary, width),
        "embeddings.position_embeddings.weight": (POSITIONS, width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    if family != "distilbert":
        shapes["embeddings.token_type_embeddings.weight"] = (1 if family == "roberta" else 2, width)
    if family == "electra":
        shapes |= linear("embeddings_project", width, HIDDEN)
    for number in range(LAYERS):
        if family == "distilbert":
            layer = f"transformer.layer.{number}"
            for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
                shapes |= linear(f"{layer}.attention.{part}", HIDDEN, HIDDEN)
            shapes |= linear(f"{layer}.ffn.lin1", HIDDEN, INNER) | linear(f"{layer}.ffn.lin2", INNER, HIDDEN)
            norms = ("sa_layer_norm", "output_layer_norm")
        else:
            layer = f"encoder.layer.{number}"
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                shapes |= linear(f"{layer}.attention.{part}", HIDDEN, HIDDEN)
            shapes |= linear(f"{layer}.intermediate.dense", HIDDEN, INNER)
            shapes |= linear(f"{layer}.output.dense", INNER, HIDDEN)
            norms = ("attention.output.LayerNorm", "output.LayerNorm")
        for norm in norms:
            shapes |= {f"{layer}.{norm}.weight": (HIDDEN,), f"{layer}.{norm}.bias": (HIDDEN,)}
    return shapes


def head_shapes(family: str, outputs: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a classifier, as the family's own is named."""
    dense, last = {
        "bert": ("bert.pooler.dense", "classifier"),
        "distilbert": ("pre_classifier", "classifier"),
        "roberta": ("classifier.dense", "classifier.out_proj"),
        "electra": ("classifier.dense", "classifier.out_proj"),
    }[family]
    return linear(dense, HIDDEN, HIDDEN) | linear(last, HIDDEN, outputs)


def linear(name: str, before: int, after: int) -> dict[str, tuple[int, ...]]:
    """Weight and bias."""
    return {f"{name}.weight": (after, before), f"{name}.bias": (after,)}


def resnet_shapes(*, deep: bool, classes: int = 3) -> dict[str, tuple[int, ...]]:
    """A resnet of two stages under torchvision's names: two basic blocks, or two bottlenecks."""
    width, wide = 4, 4 * (4 if deep else 1)
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (width, 3, 7, 7), **norm("bn1", width)}
    before = width
    for stage, inner in ((1, width), (2, 2 * width)):
        after = inner * (wide // width)
        name = f"layer{stage}.0"
        sizes = (
            [(inner, before, 1), (inner, inner, 3), (after, inner, 1)]
            if deep
            else [(inner, before, 3), (after, inner, 3)]
        )
        for number, (out, into, kernel) in enumerate(sizes, start=1):
            shapes |= {f"{name}.conv{number}.weight": (out, into, kernel, kernel), **norm(f"{name}.bn{number}", out)}
        if before != after:
            shapes |= {f"{name}.downsample.0.weight": (after, before, 1, 1), **norm(f"{name}.downsample.1", after)}
        before = after
    return shapes | linear("fc", before, classes)


def norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a batch norm."""
    return {f"{name}.{part}": (size,) for part in ("weight", "bias", "running_mean", "running_var")}


def picture(seed: int = 3, side: int = 32) -> np.typing.NDArray[np.uint8]:
    """uint8 [side, side, 3]."""
    return np.random.RandomState(seed).randint(0, 256, (side, side, 3)).astype(np.uint8)


def main() -> None:
    """Write the libraries' answers as JSON."""
    import tokenizers
    import torch
    import transformers  # type: ignore[import-not-found]

    answers: dict[str, Any] = {}
    with torch.inference_mode(), tempfile.TemporaryDirectory() as place:
        for family in FAMILIES:
            folder = write(Path(place) / family, family, outputs=3)
            reader = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            reader.enable_truncation(POSITIONS - (2 if family == "roberta" else 0))
            headed = transformers.AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
            for kind, inputs in (("texts", TEXTS), ("pairs", PAIRS)):
                rows, vectors = [], []
                for one in inputs:
                    encoding = reader.encode(*one) if isinstance(one, tuple) else reader.encode(one)
                    given = {"input_ids": torch.tensor([encoding.ids])}
                    if family in {"bert", "electra"}:
                        given["token_type_ids"] = torch.tensor([encoding.type_ids])
                    rows.append(headed(**given).logits.softmax(1)[0].tolist())
                    vectors.append(headed.base_model(**given).last_hidden_state[0].mean(0).tolist())
                answers[f"{family} {kind}"] = rows
                if kind == "texts":
                    answers[f"{family} means"] = vectors
        answers |= resnet_answers()
    Path(sys.argv[1]).write_text(json.dumps(answers) + "\n")


def resnet_answers() -> dict[str, Any]:
    """What torchvision's own resnets answer for the picture, normalised as they want it."""
    import torch
    from torchvision.models import resnet  # type: ignore[import-not-found]

    found = {}
    for name, deep in (("basic", False), ("bottleneck", True)):
        network = resnet.ResNet(resnet.Bottleneck if deep else resnet.BasicBlock, [1, 1, 0, 0], num_classes=3)
        weights = {key: torch.from_numpy(value) for key, value in draw(resnet_shapes(deep=deep)).items()}
        # The library always has four stages and 64 channels; its forward is used on the two small ones that there are.
        width = weights["conv1.weight"].shape[0]
        network.inplanes = width
        network.conv1 = torch.nn.Conv2d(3, width, 7, 2, 3, bias=False)
        network.bn1 = torch.nn.BatchNorm2d(width)
        block = resnet.Bottleneck if deep else resnet.BasicBlock
        network.layer1 = network._make_layer(block, width, 1)
        network.layer2 = network._make_layer(block, 2 * width, 1, stride=2)
        network.layer3 = network.layer4 = torch.nn.Identity()
        network.fc = torch.nn.Linear(weights["fc.weight"].shape[1], 3)
        missing, unexpected = network.load_state_dict(weights, strict=False)
        assert not unexpected, unexpected
        assert all(key.endswith("num_batches_tracked") for key in missing), missing
        pixels = torch.from_numpy(picture()).permute(2, 0, 1)[None] / 255
        pixels = (pixels - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(
            1, 3, 1, 1
        )
        found[f"resnet {name}"] = network.eval()(pixels).softmax(1)[0].tolist()
    return found


if __name__ == "__main__":
    main()
