"""The encoder against an independent reference in numpy, and its promise that company does not change an answer."""

import json
import random
from math import sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from inference.runtimes import packing
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import LoadError
from inference.runtimes.text_encoder import load_text_encoder
from tests.support import demo_models
from tests.support.examples import examples

Double = npt.NDArray[np.float64]

TEXTS = [
    "I love this product",
    "",
    "No.",
    "The delivery was late, the box was broken, and nobody answered my calls for eleven days; never again.",
    "Ünïcödé, 漢字 and 🙂 are texts too",
    "word " * 40,
    "Fine!",
]


@pytest.fixture(scope="module")
def minilm() -> CheckedRuntime:
    return demo_models.runtime("minilm")


def reference(directory: Path, text: str) -> Double:
    """BERT as the paper and its checkpoint's config describe it, one text at a time, in float64."""
    weights = {name: value.astype(np.float64) for name, value in load_file(directory / "encoder.safetensors").items()}
    config = json.loads((directory / "encoder.json").read_text())
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    ids = tokenizer.encode(text).ids
    heads, size = config["num_attention_heads"], config["hidden_size"] // config["num_attention_heads"]

    def dense(values: Double, name: str) -> Double:
        result: Double = values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        return result

    def norm(values: Double, name: str) -> Double:
        centred = values - values.mean(-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
        result: Double = centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return result

    def gelu(values: Double) -> Double:
        result: Double = values * 0.5 * (1 + torch.special.erf(torch.from_numpy(values / sqrt(2))).numpy())
        return result

    hidden = weights["embeddings.word_embeddings.weight"][ids]
    hidden = hidden + weights["embeddings.position_embeddings.weight"][: len(ids)]
    hidden = norm(hidden + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        query, key, value = (dense(hidden, f"{layer}.attention.self.{part}") for part in ("query", "key", "value"))
        attended = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = np.exp(query[:, part] @ key[:, part].T / sqrt(size))
            attended.append(scores / scores.sum(-1, keepdims=True) @ value[:, part])
        output = dense(np.concatenate(attended, axis=1), f"{layer}.attention.output.dense")
        hidden = norm(output + hidden, f"{layer}.attention.output.LayerNorm")
        inner = dense(gelu(dense(hidden, f"{layer}.intermediate.dense")), f"{layer}.output.dense")
        hidden = norm(inner + hidden, f"{layer}.output.LayerNorm")
    mean: Double = hidden.mean(axis=0)
    return mean / float(np.linalg.norm(mean))


def test_it_computes_what_the_checkpoint_describes(minilm: CheckedRuntime) -> None:
    texts = [*TEXTS[:5], "long " * 300]
    expected = np.stack([reference(demo_models.artefact("minilm"), text) for text in texts])
    np.testing.assert_allclose(minilm.run(texts), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["minilm", "sentiment"])
def test_company_and_order_do_not_change_an_answer(name: str) -> None:
    runtime = demo_models.runtime(name)
    alone = {text: runtime.run([text])[0] for text in TEXTS}
    for seed in range(3):
        texts = random.Random(seed).choices(TEXTS, k=12)
        for text, row in zip(texts, runtime.run(texts), strict=True):
            np.testing.assert_allclose(row, alone[text], rtol=0, atol=1e-5)


def test_padding_does_not_change_an_answer_either(minilm: CheckedRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    grouped = minilm.run(TEXTS)
    monkeypatch.setattr("inference.runtimes.bert_encoder.pack", packing.Padded)  # what a GPU uses
    np.testing.assert_allclose(minilm.run(TEXTS), grouped, rtol=0, atol=1e-5)


def test_text_beyond_256_tokens_is_ignored_and_text_before_is_not(minilm: CheckedRuntime) -> None:
    full = "word " * 254  # and the two marks at the ends
    cut, longer, shorter = minilm.run([full, full + "different", "word " * 253 + "different"])
    np.testing.assert_allclose(longer, cut, rtol=0, atol=1e-6)
    assert abs(shorter - cut).max() > 1e-4


def test_vectors_have_length_one_and_mean_something(minilm: CheckedRuntime) -> None:
    cat, kitten, invoice = minilm.run(
        ["A cat sits on the mat.", "A kitten rests on the rug.", "The invoice is overdue."]
    )
    np.testing.assert_allclose([np.linalg.norm(vector) for vector in (cat, kitten, invoice)], 1, atol=1e-5)
    assert cat @ kitten > cat @ invoice + 0.3


@examples(40)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(0, 2**31))
def test_grouped_and_padded_attention_agree(lengths: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    projected = torch.randn(sum(lengths), 3 * 8, generator=generator)
    hidden = torch.randn(sum(lengths), 8, generator=generator)
    grouped, padded = packing.Grouped(lengths), packing.Padded(lengths, torch.device("cpu"))
    torch.testing.assert_close(grouped.attend(projected, 2), padded.attend(projected, 2), rtol=0, atol=1e-5)
    torch.testing.assert_close(grouped.mean(hidden), padded.mean(hidden), rtol=0, atol=1e-5)


def test_versions_with_equal_encoders_share_one_in_memory() -> None:
    first = load_text_encoder(demo_models.artefact("sentiment", "1.0.0"), "cpu")
    second = load_text_encoder(demo_models.artefact("minilm"), "cpu")
    assert first.encoder is second.encoder


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    source = demo_models.artefact("minilm")
    for file in source.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "encoder.json").unlink()
    config = json.loads((source / "encoder.json").read_text())
    (tmp_path / "encoder.json").write_text(json.dumps(config | {"hidden_act": "swish2"}))
    with pytest.raises(LoadError, match="what runs here"):
        load_text_encoder(tmp_path, "cpu")
    (tmp_path / "encoder.json").write_text(json.dumps(config | {"num_hidden_layers": 7}))
    with pytest.raises(LoadError, match="does not hold the weights"):
        load_text_encoder(tmp_path, "cpu")
