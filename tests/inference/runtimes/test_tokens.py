"""Tokens of texts: counted with the special ones, refused or cut, and cut where the tokenizer's own truncation cuts."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from inference.runtimes.protocol import Encoded, LoadError
from inference.runtimes.tokens import TOKENIZER, TextReader
from inference.types import REFUSE, TO_LIMIT, TextLength
from tests.support import demo_models, hf_folders

SPECIAL = {"bert": (2, 3), "roberta": (2, 4), "bare": (0, 0), "minilm": (2, 3)}
"""How many special tokens a text, and a pair, has around it."""

WORDS = st.lists(st.sampled_from(["the", "lamp", "unheard-of", "[SEP]", "blue"]), min_size=1, max_size=30).map(" ".join)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for family in ("bert", "roberta"):
        made[family] = hf_folders.write(tmp_path_factory.mktemp(family), family)
    bare = hf_folders.write(tmp_path_factory.mktemp("bare"), "bert")
    tokenizer = Tokenizer.from_file(str(bare / TOKENIZER))
    tokenizer.post_processor = None
    tokenizer.save(str(bare / TOKENIZER))
    return made | {"bare": bare, "minilm": demo_models.artefact("minilm")}


@cache
def library(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.no_padding()
    return tokenizer


@cache
def reader_of(folder: Path, most: int) -> TextReader:
    return TextReader(folder, max_tokens=most)


def truncated_by_the_library(folder: Path, given: Any, most: int) -> tuple[list[int], list[int]]:
    tokenizer = library(folder)
    tokenizer.enable_truncation(most)
    (found,) = tokenizer.encode_batch_fast([given])
    return found.ids, found.type_ids


@pytest.mark.parametrize("name", SPECIAL)
@given(text=WORDS, room=st.integers(1, 20))
def test_a_text_is_cut_as_the_library_cuts_it(folders: dict[str, Path], name: str, text: str, room: int) -> None:
    most = room + SPECIAL[name][0]
    (read,) = reader_of(folders[name], most).read([text], [TO_LIMIT])
    assert isinstance(read.value, Encoded)
    assert read.value.ids.tolist() == truncated_by_the_library(folders[name], text, most)[0]
    assert read.value.types is None
    assert len(read.value.ids) <= most


@pytest.mark.parametrize("name", SPECIAL)
@given(pair=st.tuples(WORDS, WORDS), room=st.integers(2, 30))
def test_a_pair_is_cut_where_its_longer_text_ends(
    folders: dict[str, Path], name: str, pair: tuple[str, str], room: int
) -> None:
    most = room + SPECIAL[name][1]
    (read,) = reader_of(folders[name], most).read([pair], [TO_LIMIT])
    assert isinstance(read.value, Encoded)
    ids, types = truncated_by_the_library(folders[name], pair, most)
    assert (read.value.ids.tolist(), read.value.types_or_zeros().tolist()) == (ids, types)


def test_special_tokens_count_for_they_take_places_too(folders: dict[str, Path]) -> None:
    reader = TextReader(folders["bert"], max_tokens=5)
    assert [read.length for read in reader.read(["the blue lamp", "the very blue lamp"], [REFUSE] * 2)] == [
        None,
        TextLength(6, 5),
    ]
    assert [read.length for read in reader.read([("the", "lamp"), ("the blue", "lamp")], [REFUSE] * 2)] == [
        None,
        TextLength(6, 5),
    ]


def test_each_input_is_refused_or_cut_as_it_asks(folders: dict[str, Path]) -> None:
    reader = TextReader(folders["bert"], max_tokens=6)
    text = "the lamp is very blue"
    refused, cut, shorter, more = reader.read([text] * 4, [REFUSE, TO_LIMIT, 4, 100])
    assert (refused.value, refused.length) == (None, TextLength(7, 6))
    whole = reader.read(["the lamp is very"], [REFUSE])[0].value
    assert isinstance(cut.value, Encoded)
    assert isinstance(whole, Encoded)
    np.testing.assert_array_equal(cut.value.ids, whole.ids)
    assert cut.length == TextLength(7, 6)
    assert shorter.length == TextLength(7, 4)
    assert isinstance(shorter.value, Encoded)
    assert len(shorter.value.ids) == 4
    assert more.length == TextLength(7, 6)


def test_of_few_tokens_one_is_left_for_each_text(folders: dict[str, Path]) -> None:
    reader = TextReader(folders["bert"], max_tokens=20)
    single, pair = reader.read(["the blue lamp", ("the blue lamp", "is bad")], [1, 1])
    assert isinstance(single.value, Encoded)
    assert isinstance(pair.value, Encoded)
    assert (len(single.value.ids), len(pair.value.ids)) == (3, 5)
    assert (single.length, pair.length) == (TextLength(5, 3), TextLength(8, 5)), "what was read, not what was asked for"


def test_what_was_read_is_not_read_again(folders: dict[str, Path]) -> None:
    reader = TextReader(folders["bert"], max_tokens=6)
    (read,) = reader.read(["the lamp is very blue"], [3])
    assert isinstance(read.value, Encoded)
    found = reader.encoded(["bad", read.value, "the lamp is very blue"])
    assert [len(one.ids) for one in found] == [3, 3, 6]
    assert found[1] is read.value


def test_a_limit_that_leaves_no_room_for_a_text_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(LoadError, match="none is left for a text"):
        TextReader(folders["bert"], max_tokens=2)
