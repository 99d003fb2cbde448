"""Every field of a card that is wrong is named, and a right card becomes what the registry stores."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.models import Acceleration, Precision, RuntimeName
from inference.models.model_version import SEMANTIC_VERSION
from inference.registry.packages import card as cards
from inference.registry.packages.problems import PackageError
from tests.support.packages import CARD

TEXT = """
name = "reviews"
version = "1.0.0"
runtime = "text-classification"
licence = "MIT"
labels = ["negative", "positive"]
[options]
pooling = "cls"
[[examples]]
input = "I love it"
output = [0.02, 0.98]
tolerance = 0.05
"""
PAIR = """
name = "ranker"
version = "1.0.0-rc.1"
runtime = "pair-scoring"
licence = "MIT"
[[examples]]
input = {text = "a query", pair = "a passage"}
output = 0.7
"""
IMAGE = """
name = "pictures"
version = "1.0.0"
runtime = "image-classification"
licence = "MIT"
labels = ["cat", "dog"]
[input]
height = 32
width = 24
[[examples]]
input = {file = "images/cat.png"}
output = [1, 0]
"""
EMBEDDING = """
name = "vectors"
version = "1.0.0"
runtime = "text-embedding"
licence = "MIT"
dimensions = 2
[[examples]]
input = "x"
output = [0.6, 0.8]
"""


def test_the_choices_are_those_of_the_models() -> None:
    assert sorted(cards.RUNTIMES) == sorted(RuntimeName.values)
    assert list(cards.PRECISIONS) == Precision.values
    assert list(cards.ACCELERATIONS) == Acceleration.values
    assert cards.VERSION == SEMANTIC_VERSION


def test_a_tensor_classifier() -> None:
    card = cards.read(CARD.encode())
    assert card.reference == "shapes@1.0.0"
    assert card.input_schema == {"kind": "tensor", "dtype": "float32", "shape": [2, 2], "minimum": 0, "maximum": 1}
    assert card.output_schema == {"kind": "classification"}
    assert card.labels == ("circle", "square")
    assert card.serving.max_batch_size == 16
    assert card.serving.pool == "gpu"
    assert (card.accuracy, card.accuracy_note) == (0.9, "On 100 held-out shapes.")
    assert card.examples[0].output == (0.25, 0.75)
    assert card.values["labels"] == ["circle", "square"]


def test_the_other_kinds() -> None:
    text, pair = cards.read(TEXT.encode()), cards.read(PAIR.encode())
    image, embedding = cards.read(IMAGE.encode()), cards.read(EMBEDDING.encode())
    assert text.options == {"pooling": "cls"}
    assert text.input_schema == {"kind": "text", "max_chars": 10_000}
    assert text.examples[0].tolerance == 0.05
    assert pair.input_schema["kind"] == "pair"
    assert pair.output_schema == {"kind": "scores", "dimensions": 1}
    assert pair.examples[0].output == (0.7,)
    assert image.input_schema == {"kind": "image", "height": 32, "width": 24, "channels": 3, "resize": "crop"}
    assert image.files == {"images/cat.png"}
    assert embedding.output_schema == {"kind": "embedding", "dimensions": 2}
    assert embedding.labels == ()


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('name = "shapes"', "", "name"),
        ('name = "shapes"', 'name = "Shapes"', "name"),
        ('name = "shapes"', f'name = "{"a" * 64}"', "name"),
        ('name = "shapes"', "name = 3", "name"),
        ('version = "1.0.0"', 'version = "1.0"', "version"),
        ('version = "1.0.0"', 'version = "01.0.0"', "version"),
        ('version = "1.0.0"', 'version = "1.0.0\\n"', "version"),
        ('"tensor-classification"', '"tensor-classifier"', "runtime"),
        ('licence = "MIT"', "", "licence"),
        ('licence = "MIT"', 'licence = " "', "licence"),
        ('title = "Shapes"', 'title = "Sha\\u0001pes"', "title"),
        ('title = "Shapes"', 'titel = "Shapes"', "titel"),
        ('["circle", "square"]', '["circle"]', "labels"),
        ('["circle", "square"]', '["circle", "circle"]', "labels"),
        ('["circle", "square"]', '["circle", 2]', "labels[1]"),
        ('["circle", "square"]', '["circle", "a\\u0000"]', "labels[1]"),
        ("[input]", "dimensions = 2\n[input]", "dimensions"),
        ("[input]", "[input]\nmax_chars = 3", "input.max_chars"),
        ("shape = [2, 2]", "", "input.shape"),
        ("shape = [2, 2]", "shape = []", "input.shape"),
        ("shape = [2, 2]", "shape = [2, true]", "input.shape"),
        ("shape = [2, 2]", "shape = [100000, 100000]", "input.shape"),
        ("maximum = 1", "maximum = 0", "input.maximum"),
        ("maximum = 1", "maximum = nan", "input.maximum"),
        ("max_batch_size = 16", "max_batch_size = 0", "serving.max_batch_size"),
        ("max_batch_size = 16", "max_batch_size = 16.0", "serving.max_batch_size"),
        ("max_batch_size = 16", 'pool = "jobs"', "serving.pool"),
        ("max_batch_size = 16", 'device = "cuda:0; rm"', "serving.device"),
        ("max_batch_size = 16", 'precision = "int4"', "serving.precision"),
        ("max_batch_size = 16", "max_queue_delay_ms = 1001", "serving.max_queue_delay_ms"),
        ("value = 0.9", "value = 90", "accuracy.value"),
        ('note = "On 100 held-out shapes."', "", "accuracy.note"),
        ("[[examples]]", "[[example]]", "examples"),
        ("input = [[0, 0], [1, 1]]", "input = [[0, 0], [1]]", "examples[0].input"),
        ("input = [[0, 0], [1, 1]]", "input = [[0, 0], [1, 2]]", "examples[0].input"),
        ("input = [[0, 0], [1, 1]]", 'input = "text"', "examples[0].input"),
        ("output = [0.25, 0.75]", "", "examples[0].output"),
        ("output = [0.25, 0.75]", "output = [1.0]", "examples[0].output"),
        ("output = [0.25, 0.75]", "output = [0.9, 0.9]", "examples[0].output"),
        ("output = [0.25, 0.75]", "output = [0.25, true]", "examples[0].output[1]"),
        ("output = [0.25, 0.75]", "output = [0.25, 0.75]\ntolerance = 0.5", "examples[0].tolerance"),
        ("output = [0.25, 0.75]", "output = [0.25, 0.75]\ncomment = 1", "examples[0].comment"),
        ('title = "Shapes"', "title = 2026-01-01", "title"),
        ('title = "Shapes"', "title = 99999999999999999999", "title"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, place: str) -> None:
    assert old in CARD
    with pytest.raises(PackageError) as refused:
        cards.read(CARD.replace(old, new, 1).encode())
    assert refused.value.place == f"model.toml: {place}"
    assert refused.value.reason


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"name = ",
        b'name = "a"\nname = "b"',
        b"a = " + b"[" * 50_000,
        b"# " + b"x" * cards.MAX_CARD_BYTES,
        b'runtime = "text-embedding"\n[runtime]\npooling = "cls"',
    ],
)
def test_what_is_no_card_is_refused_as_a_whole(content: bytes) -> None:
    with pytest.raises(PackageError) as refused:
        cards.read(content)
    assert refused.value.place == "model.toml"


def test_depth_is_bounded() -> None:
    options = "[options]\ndeep = " + "[" * 40 + "]" * 40
    with pytest.raises(PackageError, match="nested deeper"):
        cards.read((TEXT.replace('[options]\npooling = "cls"', options)).encode())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    ),
    st.sampled_from(["name", "version", "runtime", "labels", "input", "serving", "accuracy", "examples", "options"]),
)
def test_no_value_makes_it_fail_otherwise(value: object, key: str) -> None:
    """A card is read or refused with a place; nothing else comes out, whatever a field holds."""
    values = dict(cards.read(CARD.encode()).values) | {key: value}
    try:
        card = cards.parse(values)
    except PackageError as error:
        refused: PackageError | None = error
    else:
        refused = None
        assert all(math.isfinite(number) for example in card.examples for number in example.output)
    assert refused is None or refused.place.startswith("model.toml: ")


def test_a_nul_in_the_name_of_an_option() -> None:
    """PostgreSQL's JSON cannot hold it."""
    with pytest.raises(PackageError, match=r"^model\.toml: options: .*NUL"):
        cards.read(TEXT.replace("pooling", r'"a\u0000b"').encode())
