"""Models in the layout of Hugging Face against what the libraries transformers and torchvision answer for them.

``tests/support/hf_folders.py`` makes the models and tells how ``expected/libraries.json`` was written.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from inference.registry import artefacts
from inference.runtimes import bert_encoder, loading, networks
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import LoadError, RuntimeSpec
from inference.types import REFUSE, TO_LIMIT, TextLength
from tests.support import demo_models, hf_folders
from tests.support.hf_folders import FAMILIES, PAIRS, TEXTS

EXPECTED: Mapping[str, Any] = json.loads((Path(__file__).parent / "expected" / "libraries.json").read_text())
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "text": {"kind": "text", "max_chars": 1000},
    "pair": {"kind": "pair", "max_chars": 1000},
    "image": {"kind": "image", "height": 32, "width": 32, "channels": 3},
}


def load(
    folder: Path, runtime: str, outputs: int, *, precision: str = "float32", device: str = "cpu", **fields: Any
) -> CheckedRuntime:
    return loading.load(
        RuntimeSpec(
            name="tiny",
            version="1.0.0",
            runtime=runtime,
            artefact=folder,
            digest=artefacts.digest(folder),
            outputs=outputs,
            input_schema=SCHEMAS[runtime.partition("-")[0]],
            max_batch_size=8,
            device=device,
            precision=precision,
            **fields,
        )
    )


def unit(vectors: Any) -> Any:
    found = np.array(vectors)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_answers_what_transformers_answers(family: str, tmp_path: Path) -> None:
    folder = hf_folders.write(tmp_path, family, outputs=3)
    answers = load(folder, "text-classification", 3).run(TEXTS)
    np.testing.assert_allclose(answers, EXPECTED[f"{family} texts"], rtol=0, atol=1e-5)
    assert np.abs(answers[0] - answers[1]).max() > 0.01, "a model that says the same to everything would prove nothing"


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_are_read_together_as_transformers_reads_them(family: str, tmp_path: Path) -> None:
    folder = hf_folders.write(tmp_path, family, outputs=3)
    answers = load(folder, "pair-classification", 3).run(PAIRS)
    np.testing.assert_allclose(answers, EXPECTED[f"{family} pairs"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_embedding_is_the_mean_of_the_last_layer(family: str, tmp_path: Path) -> None:
    folder = hf_folders.write(tmp_path, family, prefixed=False)
    weights = load_file(hf_folders.write(tmp_path / "headed", family, outputs=3) / "model.safetensors")
    bare = {name.removeprefix(f"{family}."): value for name, value in weights.items()}
    save_file(bare, folder / "model.safetensors")  # heads and all: what an encoder does not need is passed over
    (tmp_path / "headed" / "config.json").unlink()
    wanted = np.array(EXPECTED[f"{family} means"])
    np.testing.assert_allclose(load(folder, "text-embedding", 16).run(TEXTS), unit(wanted), rtol=0, atol=1e-5)
    plain = load(folder, "text-embedding", 16, options={"normalise": False})
    np.testing.assert_allclose(plain.run(TEXTS), wanted, rtol=0, atol=1e-5)


def test_the_first_token_can_stand_for_the_text(tmp_path: Path) -> None:
    folder = hf_folders.write(tmp_path, "bert")
    mean = load(folder, "text-embedding", 16).run(TEXTS)
    first = load(folder, "text-embedding", 16, options={"pooling": "cls"}).run(TEXTS)
    assert np.abs(mean - first).max() > 0.1
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)


def test_a_cross_encoder_scores_with_the_sigmoid_of_its_logit(tmp_path: Path) -> None:
    folder = hf_folders.write(tmp_path, "bert", outputs=1)
    scores = load(folder, "pair-scoring", 1).run(PAIRS)
    assert scores.shape == (3, 1)
    assert ((scores > 0) & (scores < 1)).all()
    swapped = load(folder, "pair-scoring", 1).run([(second, first) for first, second in PAIRS])
    assert np.abs(scores - swapped).max() > 1e-3, "which text comes first matters"


@pytest.mark.parametrize(("name", "deep"), [("basic", False), ("bottleneck", True)])
def test_a_resnet_answers_what_torchvision_answers(name: str, deep: bool, tmp_path: Path) -> None:
    save_file(hf_folders.draw(hf_folders.resnet_shapes(deep=deep)), tmp_path / "model.safetensors")
    options = {"architecture": "resnet", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    runtime = load(tmp_path, "image-classification", 3, options=options)
    np.testing.assert_allclose(runtime.run([hf_folders.picture()])[0], EXPECTED[f"resnet {name}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("int8", 0.05), ("bfloat16", 0.05)])
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_lower_precision_moves_answers_a_little_and_not_at_all_with_company(
    family: str, precision: str, tolerance: float, tmp_path: Path
) -> None:
    folder = hf_folders.write(tmp_path, family, outputs=3)
    runtime = load(folder, "text-classification", 3, precision=precision)
    answers = runtime.run(TEXTS)
    off = np.abs(answers - np.array(EXPECTED[f"{family} texts"])).max()
    assert 0 < off < tolerance
    if precision == "int8":
        alone = np.concatenate([runtime.run([text]) for text in TEXTS])
        np.testing.assert_allclose(answers, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"precision": "float16"}, "GPU only"),
        ({"precision": "int8", "acceleration": "compile"}, "cannot be compiled"),
        ({"acceleration": "cuda-graphs"}, "need a GPU"),
        ({"options": {"poling": "cls"}}, "no option 'poling'"),
        ({"options": {"max_tokens": "all"}}, "max_tokens is a whole number"),
        ({"options": {"architecture": "gpt"}}, "architecture is one of"),
        ({"options": {"architecture": "transformers"}}, "requirements-transformers.txt"),
    ],
)
def test_what_cannot_work_is_a_load_error_that_says_why(
    fields: dict[str, Any], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # as on a machine without it
    folder = hf_folders.write(tmp_path, "bert", outputs=3)
    with pytest.raises(LoadError, match=reason):
        load(folder, "text-classification", 3, **fields)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "gpt2"}, "set the option architecture"),
        ({"hidden_act": "swish2"}, "what runs here"),
        ({"position_embedding_type": "relative_key"}, "absolute"),
        ({"is_decoder": True}, "decoder"),
        ({"num_attention_heads": 3}, "cannot be shared"),
        ({"num_hidden_layers": 3}, "does not hold the weights"),
        ({"num_hidden_layers": 10**9}, "whole number from 1"),
        ({"vocab_size": 5}, "tokenizer knows"),
        ({"hidden_size": None}, "does not say 'hidden_size'"),
    ],
)
def test_a_config_that_does_not_fit_is_a_load_error(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    folder = hf_folders.write(tmp_path, "bert", outputs=3)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(LoadError, match=reason):
        load(folder, "text-classification", 3)


def test_a_head_that_is_missing_or_too_wide_is_a_load_error(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no classifier as bert"):
        load(hf_folders.write(tmp_path / "bare", "bert"), "text-classification", 3)
    with pytest.raises(LoadError, match="gives 3 classes, 2 were declared"):
        load(hf_folders.write(tmp_path / "three", "bert", outputs=3), "text-classification", 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_rectangles_give_the_same_answers_as_packed_texts(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compiled, or recorded as CUDA graphs, without the minute that compiling takes."""
    monkeypatch.setattr(torch, "compile", lambda network, dynamic: network)
    folder = hf_folders.write(tmp_path, family, outputs=3)
    compiled = load(folder, "text-classification", 3, acceleration="compile")
    np.testing.assert_allclose(compiled.run(TEXTS), EXPECTED[f"{family} texts"], rtol=0, atol=1e-5)
    pairs = load(folder, "pair-classification", 3, acceleration="compile")
    np.testing.assert_allclose(pairs.run(PAIRS), EXPECTED[f"{family} pairs"], rtol=0, atol=1e-5)


def test_a_machine_that_cannot_compile_says_so_when_the_version_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_nothing(network: Any, dynamic: bool) -> Any:
        def fail(*_: Any) -> Any:
            raise RuntimeError("no C++ compiler")

        return fail

    monkeypatch.setattr(torch, "compile", compile_nothing)
    folder = hf_folders.write(tmp_path, "bert", outputs=3)
    with pytest.raises(LoadError, match=r"torch\.compile does not work here: RuntimeError: no C\+\+ compiler"):
        load(folder, "text-classification", 3, acceleration="compile")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    ("precision", "acceleration", "tolerance"),
    [
        ("float32", "none", 1e-4),
        ("float32", "cuda-graphs", 1e-4),
        ("float16", "none", 0.01),
        ("float16", "cuda-graphs", 0.01),
        ("bfloat16", "cuda-graphs", 0.05),
    ],
)
def test_a_gpu_gives_the_same_answers(precision: str, acceleration: str, tolerance: float, tmp_path: Path) -> None:
    folder = hf_folders.write(tmp_path, "bert", outputs=3)
    runtime = load(folder, "text-classification", 3, precision=precision, acceleration=acceleration, device="cuda:0")
    for _ in range(2):  # recorded, and played again
        np.testing.assert_allclose(runtime.run(TEXTS), EXPECTED["bert texts"], rtol=0, atol=tolerance)


def test_an_echo_gives_its_numbers_back(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    spec = RuntimeSpec(
        name="echo",
        version="1.0.0",
        runtime="tensor-echo",
        artefact=tmp_path,
        digest=artefacts.digest(tmp_path),
        outputs=6,
        input_schema={"kind": "tensor", "shape": [2, 3]},
        max_batch_size=4,
        device="cpu",
    )
    grids = np.arange(18, dtype=np.float32).reshape(3, 2, 3)
    np.testing.assert_array_equal(loading.load(spec).run(list(grids)), grids.reshape(3, 6))
    with pytest.raises(LoadError, match="5 were declared"):
        loading.load(replace(spec, outputs=5))


def test_old_checkpoints_call_the_norm_by_other_names(tmp_path: Path) -> None:
    folder = hf_folders.write(tmp_path, "bert", outputs=3)
    weights = load_file(folder / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in weights.items()
    }
    assert old.keys() != weights.keys()
    save_file(old, folder / "model.safetensors")
    answers = load(folder, "text-classification", 3).run(TEXTS)
    np.testing.assert_allclose(answers, EXPECTED["bert texts"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "sizes",
    [
        {"vocab_size": 2_000_000},
        {"max_position_embeddings": 100_000},
        {"intermediate_size": 65_536},
        {"num_hidden_layers": 256},
        {"hidden_size": 16_384},
        {"type_vocab_size": 1_000_000_000},
    ],
)
def test_a_config_cannot_ask_for_more_memory_than_its_file_has_numbers(
    sizes: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hf_folders.write(tmp_path, "bert", outputs=2)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | sizes))
    monkeypatch.setattr(bert_encoder, "BertEncoder", lambda config: pytest.fail("a network of that size was made"))
    with pytest.raises(LoadError, match="does not hold the weights"):
        load(folder, "text-classification", 2)


@pytest.mark.parametrize(
    ("architecture", "shapes"),
    [
        ("mlp", {"layers.0": (70_000, 1), "layers.1": (70_000, 1), "layers.2": (2, 70_000)}),
        (
            "small-cnn",
            {"convolutions.0": (70_000, 1, 3, 3), "convolutions.1": (70_000, 1, 3, 3), "head.layers.0": (2, 4)},
        ),
        ("resnet", {"conv1": (1, 1, 20_000, 1), "fc": (2, 1)}),
        (
            "resnet",
            {
                "conv1": (1, 1, 3, 3),
                "layer1.0.conv1": (70_000, 1, 1, 1),
                "layer1.0.conv2": (70_000, 1, 1, 1),
                "fc": (2, 1),
            },
        ),
    ],
)
def test_small_files_do_not_describe_layers_that_fill_the_memory(
    architecture: str, shapes: dict[str, tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(*sizes: int, **_: Any) -> None:
        assert max(sizes) < 1000, "a layer of that size was made"

    for layer in ("Conv2d", "Linear"):
        monkeypatch.setattr(torch.nn, layer, made)
    weights = {f"{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    if architecture == "small-cnn":
        weights["scale"] = torch.ones(1)
    with pytest.raises(LoadError):
        networks.build(architecture, weights, shape=(1, 8, 8), outputs=2)


@pytest.mark.parametrize(
    ("family", "option", "most"),
    [
        ("bert", 0, hf_folders.POSITIONS),
        ("roberta", 0, hf_folders.POSITIONS - 2),
        ("bert", 8, 8),
        ("distilbert", 900, 40),
    ],
)
def test_how_much_of_a_text_is_read_is_known_and_what_is_longer_is_counted(
    tmp_path: Path, family: str, option: int, most: int
) -> None:
    """RoBERTa's positions begin behind that of its padding; an option never reaches beyond the model's positions."""
    folder = hf_folders.write(tmp_path, family, outputs=3)
    model = load(folder, "pair-classification", 3, options={"max_tokens": option})
    assert model.max_tokens == most
    special = 4 if family == "roberta" else 3
    fits, long = ("the " * (most - special - 1), "lamp"), ("the " * (most - special), "lamp")
    assert [one.length for one in model.read([fits, long], [REFUSE] * 2)] == [None, TextLength(most + 1, most)]
    values = [read.value for read in model.read([fits, long], [TO_LIMIT] * 2) if read.value is not None]
    whole, cut = model.run(values)
    (unread,) = model.run([long])
    np.testing.assert_allclose(whole, cut, rtol=0, atol=1e-5)
    np.testing.assert_allclose(unread, cut, rtol=0, atol=1e-5)


def test_what_is_no_text_has_no_tokens(tmp_path: Path) -> None:
    assert demo_models.runtime("digits").max_tokens is None
    grid = np.zeros((8, 8), dtype=np.float32)
    (read,) = demo_models.runtime("digits").read([grid], [REFUSE])
    assert read.value is grid
