"""Toy models of every kind, as folders that can be pushed: ``python docs/examples/make_models.py FOLDER``.

Each is written as two versions, ``FOLDER/1.0.0/NAME`` and ``FOLDER/1.1.0/NAME``, which differ in nothing but the number.

They stand for what a framework saves: weights as safetensors, and for texts the Hugging Face layout. The outputs of the examples
are computed here with NumPy, as yours come from the framework that you trained with.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

Array = npt.NDArray[np.float32]

VERSIONS = ("1.0.0", "1.1.0")

HIDDEN, POSITIONS = 8, 64
UNKNOWN = "[UNK]"
SPECIAL = ["[PAD]", UNKNOWN, "[CLS]", "[SEP]"]
GOOD = ["good", "great", "love", "wonderful"]
BAD = ["bad", "awful", "hate", "broken"]
OTHER = ["i", "it", "this", "is", "the", "a", "lamp", "blue", "film", "which", "where", "here"]
WORDS = [*SPECIAL, *GOOD, *BAD, *OTHER]


def tokenizer() -> Tokenizer:
    """A word is a token, as in a vocabulary of its own."""
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token=UNKNOWN))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def bert(prefix: str, head: Array | None) -> dict[str, Array]:
    """A BERT of one layer whose attention gives each token the average of all, by the names of Hugging Face's library."""
    random = np.random.default_rng(7)
    words = random.normal(0, 0.3, (len(WORDS), HIDDEN)).astype(np.float32)
    for word in GOOD + BAD:
        words[WORDS.index(word), 0] += 4 if word in GOOD else -4
    types = random.normal(0, 0.3, (2, HIDDEN)).astype(np.float32)
    same, nothing = np.eye(HIDDEN, dtype=np.float32), np.zeros((HIDDEN, HIDDEN), np.float32)
    weights = {
        "embeddings.word_embeddings.weight": words,
        "embeddings.position_embeddings.weight": np.zeros((POSITIONS, HIDDEN), np.float32),
        "embeddings.token_type_embeddings.weight": types,
    }
    layer = "encoder.layer.0."
    linear = {
        "attention.self.query": nothing,
        "attention.self.key": nothing,
        "attention.self.value": same,
        "attention.output.dense": same,
        "intermediate.dense": nothing,
        "output.dense": nothing,
    }
    for name, weight in linear.items():
        weights |= {f"{layer}{name}.weight": weight.copy(), f"{layer}{name}.bias": np.zeros(HIDDEN, np.float32)}
    for name in ("embeddings.", f"{layer}attention.output.", f"{layer}output."):
        weights |= {f"{name}LayerNorm.weight": np.ones(HIDDEN, np.float32)}
        weights |= {f"{name}LayerNorm.bias": np.zeros(HIDDEN, np.float32)}
    if head is not None:
        weights |= {"pooler.dense.weight": same.copy(), "pooler.dense.bias": np.zeros(HIDDEN, np.float32)}
    named = {f"{prefix}{name}": weight for name, weight in weights.items()}
    if head is not None:
        named |= {"classifier.weight": head, "classifier.bias": np.zeros(len(head), np.float32)}
    return named


def hidden(weights: Mapping[str, Array], prefix: str, text: str, pair: str | None = None) -> Array:
    """What that BERT says of each token of a text or a pair, float32 [tokens, hidden]."""
    encoding = tokenizer().encode(text, pair)
    tokens = normed(
        weights[f"{prefix}embeddings.word_embeddings.weight"][encoding.ids]
        + weights[f"{prefix}embeddings.token_type_embeddings.weight"][encoding.type_ids]
    )
    return normed(tokens + tokens.mean(axis=0))


def normed(rows: Array) -> Array:
    """Each row with mean 0 and variance 1."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    scaled: Array = centred / np.sqrt(centred.var(axis=1, keepdims=True) + 1e-12)
    return scaled


def softmax(logits: npt.NDArray[Any]) -> list[float]:
    shares = np.exp(logits - logits.max())
    return [round(float(share), 5) for share in shares / shares.sum()]


def write(
    folder: Path,
    runtime: str,
    card: str,
    weights: Mapping[str, Array],
    config: dict[str, Any] | None = None,
    *,
    file: str = "model.safetensors",
) -> None:
    """The files of a package; the folder ends with the version and the name."""
    folder.mkdir(parents=True, exist_ok=True)
    first = f'name = "{folder.name}"\nversion = "{folder.parent.name}"\nruntime = "{runtime}"\nlicence = "MIT"\n'
    (folder / "model.toml").write_text(first + card.lstrip())
    if weights:
        save_file(dict(weights), folder / file)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config, indent=2))
        tokenizer().save(str(folder / "tokenizer.json"))


def config(**more: Any) -> dict[str, Any]:
    """The ``config.json`` of the BERT above."""
    return {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": HIDDEN,
        "intermediate_size": HIDDEN,
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "vocab_size": len(WORDS),
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        **more,
    }


def reviews(folder: Path) -> None:
    """Text classification."""
    last = np.zeros((2, HIDDEN), np.float32)
    last[0, 0], last[1, 0] = -3, 3
    weights, text = bert("bert.", last), "I love this wonderful lamp"
    scores = softmax(last @ np.tanh(hidden(weights, "bert.", text)[0]))
    card = f"""
labels = ["negative", "positive"]
[input]
max_chars = 500
[[examples]]
input = "{text}"
output = {scores}
"""
    write(folder, "text-classification", card, weights, config())


def meanings(folder: Path) -> None:
    """Text embedding."""
    weights, text = bert("", None), "the blue lamp"
    vector = hidden(weights, "", text).mean(axis=0)
    vector = vector / np.linalg.norm(vector)
    card = f"""
dimensions = {HIDDEN}
[options]
pooling = "mean"
[[examples]]
input = "{text}"
output = {[round(float(number), 5) for number in vector]}
"""
    write(folder, "text-embedding", card, weights, config())


def replies(folder: Path) -> None:
    """Pair classification: how a comment and its reply sound together."""
    last = np.zeros((2, HIDDEN), np.float32)
    last[0, 0], last[1, 0] = -3, 3
    weights, text, pair = bert("bert.", last), "I love this film", "it is wonderful"
    scores = softmax(last @ np.tanh(hidden(weights, "bert.", text, pair)[0]))
    card = f"""
labels = ["hostile", "friendly"]
[[examples]]
input = {{text = "{text}", pair = "{pair}"}}
output = {scores}
"""
    write(folder, "pair-classification", card, weights, config())


def ranker(folder: Path) -> None:
    """Reranking: how well a passage fits a query."""
    last = np.linspace(-1, 1, HIDDEN, dtype=np.float32)[None]
    weights = bert("bert.", last)
    logit = float((last @ np.tanh(hidden(weights, "bert.", "where is the lamp", "the lamp is here")[0]))[0])
    card = f"""
[[examples]]
input = {{text = "where is the lamp", pair = "the lamp is here"}}
output = {1 / (1 + np.exp(-logit)):.5f}
"""
    write(folder, "pair-scoring", card, weights, config())


def colours(folder: Path) -> None:
    """Image classification: an average for each channel."""
    weight = np.kron(np.eye(3, dtype=np.float32) * 6, np.full((1, 16), 1 / 16, np.float32))
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[..., 0] = 204
    card = f"""
labels = ["red", "green", "blue"]
[input]
height = 4
width = 4
channels = 3
resize = "stretch"
[options]
architecture = "mlp"
[[examples]]
input = {{file = "red.png"}}
output = {softmax(weight @ (pixels.transpose(2, 0, 1).reshape(-1) / np.float32(255)))}
"""
    weights = {"layers.0.weight": weight, "layers.0.bias": np.zeros(3, np.float32)}
    write(folder, "image-classification", card, weights)
    Image.fromarray(pixels).save(folder / "red.png")


def shapes(folder: Path) -> None:
    """Tensor classification."""
    weight = np.array([[2, -2, -2, 2], [-2, 2, 2, -2]], np.float32)
    card = f"""
labels = ["falling", "rising"]
[input]
shape = [2, 2]
minimum = 0
maximum = 1
[options]
architecture = "mlp"
[accuracy]
value = 1.0
note = "On the two patterns that there are."
[[examples]]
input = [[1, 0], [0, 1]]
output = {softmax(weight @ np.array([1, 0, 0, 1], np.float32))}
"""
    weights = {"layers.0.weight": weight, "layers.0.bias": np.zeros(2, np.float32)}
    write(folder, "tensor-classification", card, weights)


def suggestions(folder: Path) -> None:
    """Tensor scoring: how well each of two candidates, the last rows, fits what was liked, the first row."""
    weights = {
        name: np.array([value], np.float32) for name, value in (("temperature", 8), ("scale", 8), ("offset", 0.3))
    }
    rows = np.array([[1, 0], [0.8, 0.6], [0, 1]])
    scores = 1 / (1 + np.exp(-8 * (rows[1:] @ rows[0] - 0.3)))
    card = f"""
dimensions = 2
[input]
shape = [3, 2]
[[examples]]
input = {rows.tolist()}
output = {[round(float(score), 5) for score in scores]}
"""
    write(folder, "tensor-scoring", card, weights, file="scoring.safetensors")


def echo(folder: Path) -> None:
    """What load tests call: the input itself, without weights."""
    card = """
[input]
shape = [3]
[[examples]]
input = [0.5, 1, 2]
output = [0.5, 1, 2]
"""
    write(folder, "tensor-echo", card, {})


def main() -> None:
    """Write both versions of each below the folder that is named."""
    for version in VERSIONS:
        for make in (reviews, meanings, replies, ranker, colours, shapes, suggestions, echo):
            make(Path(sys.argv[1]) / version / make.__name__)


if __name__ == "__main__":
    main()
