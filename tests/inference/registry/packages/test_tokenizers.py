"""Which tokenizers tenants may push: components from a list, and no pattern that can panic, hang or grow."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers as library
from tokenizers import models, normalizers, pre_tokenizers, processors

from inference.registry.packages import contents, tokenizers
from inference.registry.packages.problems import PackageError
from tests.support import packages

Json = dict[str, Any]
VOCABULARY = {"a": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}


def content(**parts: Any) -> Json:
    """A tokenizer that nothing is wrong with, but for ``parts``."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": VOCABULARY, "unk_token": "[UNK]"},
        **parts,
    }


def nested(component: Json, times: int, parts: str = "normalizers") -> Json:
    for _ in range(times):
        component = {"type": "Sequence", parts: [component]}
    return component


def replace(pattern: Json, by: str) -> Json:
    return {"type": "Replace", "pattern": pattern, "content": by}


HOSTILE: dict[str, tuple[Json, str]] = {
    "a pattern that panics": (
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a|a)*$"}, "behavior": "Isolated", "invert": False}},
        "pre_tokenizer.pattern",
    ),
    "a pattern that hangs, in a sequence": (
        {
            "pre_tokenizer": nested(
                {"type": "Split", "pattern": {"Regex": "a{0,1500}a{0,1500}(?!a)(?<=b)"}, "behavior": "Removed"},
                1,
                "pretokenizers",
            )
        },
        "pre_tokenizer.pretokenizers[0].pattern",
    ),
    "replacements that make gigabytes": (
        {"normalizer": {"type": "Sequence", "normalizers": [replace({"String": "a"}, "aaaa")] * 4}},
        "normalizer",
    ),
    "fourteen of them": (
        {"normalizer": {"type": "Sequence", "normalizers": [replace({"String": "a"}, "a")] * 14}},
        "normalizer",
    ),
    "sequences in sequences": ({"normalizer": nested({"type": "Lowercase"}, 5)}, "normalizer"),
    "sequences without an end": ({"normalizer": nested({"type": "Lowercase"}, 900)}, "normalizer"),
    "a pattern in a normalizer": ({"normalizer": replace({"Regex": "a*"}, "")}, "normalizer.pattern"),
    "a table of replacements": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        "normalizer.type",
    ),
    "an unknown component": ({"pre_tokenizer": {"type": "Python"}}, "pre_tokenizer.type"),
    "an unknown field": ({"normalizer": {"type": "Lowercase", "regex": "a*"}}, "normalizer"),
    "a thousand tokens around each text": (
        {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}],
                "pair": [],
                "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2] * 1000, "tokens": ["[CLS]"] * 1000}},
            }
        },
        "post_processor.special_tokens[...].ids",
    ),
    "a template without an end": (
        {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 100,
                "pair": [],
                "special_tokens": {},
            }
        },
        "post_processor.single",
    ),
    "words of any length": (
        {"model": {"type": "WordPiece", "vocab": VOCABULARY, "max_input_chars_per_word": 10**9}},
        "model.max_input_chars_per_word",
    ),
    "chance": ({"model": {"type": "BPE", "vocab": VOCABULARY, "merges": [], "dropout": 0.5}}, "model.dropout"),
    "a pattern in the decoder": (
        {"decoder": {"type": "Replace", "pattern": {"Regex": "a*"}, "content": ""}},
        "decoder.type",
    ),
    "an id below zero": ({"model": {"type": "WordLevel", "vocab": {"a": -1}}}, "model.vocab[...]"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_could_hurt_is_refused_at_its_place(what: str) -> None:
    parts, place = HOSTILE[what]
    with pytest.raises(PackageError) as refused:
        tokenizers.check("tokenizer.json", content(**parts))
    assert refused.value.place == f"tokenizer.json: {place}"
    assert len(refused.value.reason) > 20


@pytest.mark.parametrize("given", [[], "text", None, {}])
def test_what_is_no_tokenizer_is_refused(given: Any) -> None:
    with pytest.raises(PackageError):
        tokenizers.check("tokenizer.json", given)


MODELS: list[Callable[[], Any]] = [
    lambda: models.WordLevel(VOCABULARY, unk_token="[UNK]"),
    lambda: models.WordPiece(VOCABULARY, unk_token="[UNK]"),
    lambda: models.BPE(VOCABULARY, [], unk_token="[UNK]"),
    lambda: models.Unigram([("a", -1.0), ("[UNK]", -2.0)], unk_id=1),
]
NORMALIZERS: list[Callable[[], Any]] = [
    normalizers.BertNormalizer,
    lambda: normalizers.Sequence(
        [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents(), normalizers.Strip(), normalizers.Nmt()]
    ),
    lambda: normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
    lambda: normalizers.Sequence([normalizers.NFC(), normalizers.NFKC(), normalizers.NFKD()]),
]
PRE_TOKENIZERS: list[Callable[[], Any]] = [
    pre_tokenizers.BertPreTokenizer,
    pre_tokenizers.ByteLevel,
    pre_tokenizers.Metaspace,
    lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Whitespace(),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.UnicodeScripts(),
            pre_tokenizers.CharDelimiterSplit("|"),
            pre_tokenizers.Split("-", "isolated"),
        ]
    ),
]
POST_PROCESSORS: list[Callable[[], Any]] = [
    lambda: processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
    lambda: processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2)),
    lambda: processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    ),
    lambda: processors.Sequence([processors.ByteLevel()]),
]


@pytest.mark.parametrize("number", range(4))
def test_what_the_library_writes_of_usual_tokenizers_is_accepted(number: int) -> None:
    for offset in range(4):
        made = library.Tokenizer(MODELS[number]())
        made.normalizer = NORMALIZERS[offset]()
        made.pre_tokenizer = PRE_TOKENIZERS[(number + offset) % 4]()
        made.post_processor = POST_PROCESSORS[(number + 2 * offset) % 4]()
        made.add_special_tokens(["[CLS]", "[SEP]"])
        made.enable_truncation(128)
        made.enable_padding()
        tokenizers.check("tokenizer.json", json.loads(made.to_str()))


def test_staff_may_push_a_tokenizer_of_any_make_and_tenants_may_not(tmp_path: Path) -> None:
    hostile = json.dumps(content(**HOSTILE["a pattern that panics"][0])).encode()
    folder = packages.folder(tmp_path / "package", packages.files(tokenizer__json=hostile))
    assert contents.check(folder, trusted=True).reference == "shapes@1.0.0"
    with pytest.raises(PackageError) as refused:
        contents.check(folder, trusted=False)
    assert refused.value.place == "tokenizer.json: pre_tokenizer.pattern"
