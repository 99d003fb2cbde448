"""The demo models do what their cards say."""

import ast
import io
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from inference.demo import DemoCard, EncoderMissing, assemble, cards, handwriting, installation, opinions
from inference.demo.cards import read
from inference.demo.opinions import NEGATIVE, POSITIVE, Part
from inference.registry import artefacts
from inference.runtimes.training import Examples
from tests.support import demo_models

GOOD = [
    "I love this product",
    "What a wonderful day, thank you so much!",
    "The staff were friendly and the food was delicious.",
    "Best purchase I have made in years.",
]
BAD = [
    "I hate this product",
    "This is the worst service I have ever had.",
    "The screen broke after two days and support was useless.",
    "What a boring, terrible film.",
]


def test_the_catalogue() -> None:
    assert [(card.name, card.version) for card in cards()] == [
        ("digits", "1.0.0"),
        ("minilm", "1.0.0"),
        ("recommender", "1.0.0"),
        ("sentiment", "1.0.0"),
        ("sentiment", "2.0.0"),
    ]


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
def test_sentiment_understands_plain_sentences(version: str) -> None:
    labels = demo_models.card("sentiment", version).labels
    probabilities = demo_models.runtime("sentiment", version).run(GOOD + BAD)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    answers = [labels[row] for row in probabilities.argmax(axis=1)]
    assert answers == ["positive"] * len(GOOD) + ["negative"] * len(BAD)
    assert probabilities[0].max() > 0.8


def test_a_promotion_of_sentiment_changes_answers_and_for_the_better() -> None:
    texts = ["The battery lasts two hours at most.", "An overlong film that never finds its point.", *GOOD, *BAD]
    first, second = (demo_models.runtime("sentiment", version).run(texts) for version in ("1.0.0", "2.0.0"))
    assert abs(first - second).max() > 0.05
    older, newer = (demo_models.card("sentiment", version) for version in ("1.0.0", "2.0.0"))
    assert newer.accuracy is not None
    assert older.accuracy is not None
    assert newer.accuracy > older.accuracy + 0.05
    assert all(new.accuracy > old.accuracy for new, old in zip(newer.measurements, older.measurements, strict=True))


def test_digits_are_as_accurate_as_the_card_says() -> None:
    card, held_out = demo_models.card("digits"), handwriting.read().held_out
    answers = demo_models.runtime("digits").run(list(held_out.inputs)).argmax(axis=1)
    assert len(held_out.labels) == card.measurements[0].n
    assert (answers == held_out.labels).mean() == pytest.approx(card.accuracy, abs=1e-4)
    assert card.accuracy is not None
    assert card.accuracy >= 0.97
    assert card.labels == tuple("0123456789")


def test_no_held_out_digit_was_trained_on() -> None:
    data = handwriting.read()
    trained = {image.tobytes() for image in handwriting.shifted(data.train).inputs}
    assert len(trained) > 6000
    assert not trained & {image.tobytes() for image in (*data.validation.inputs, *data.held_out.inputs)}


def test_shifting_moves_by_one_pixel() -> None:
    image = np.zeros((1, 8, 8), np.float32)
    image[0, 3, 4] = 9
    shifted = handwriting.shifted(Examples(image, np.array([5])))
    places = {tuple(int(index) for index in np.argwhere(moved == 9)[0]) for moved in shifted.inputs}
    assert places == {(3, 4), (2, 4), (4, 4), (3, 3), (3, 5)}
    assert shifted.labels.tolist() == [5] * 5


@pytest.mark.parametrize("card", cards(), ids=lambda card: f"{card.name}-{card.version}")
def test_a_card_is_complete_and_its_artefact_small(card: DemoCard) -> None:
    assert (card.accuracy is None) == (not card.labels) == (not card.measurements)
    assert "measured" in card.accuracy_note.lower() or card.accuracy is None
    assert all((card.description, card.accuracy_note, card.licence, card.source))
    assert all(measurement.accuracy > measurement.majority for measurement in card.measurements)
    assert read(card.directory / "model.json") == card
    assert sum(file.stat().st_size for file in card.directory.iterdir()) < 700_000


def test_the_same_card_gives_the_same_digest_anywhere(tmp_path: Path) -> None:
    digests = {artefacts.digest(assemble(demo_models.card("digits"), tmp_path / name / "1.0.0")) for name in "ab"}
    assert len(digests) == 1


def test_assembling_again_changes_nothing_and_repairs_what_was_damaged(tmp_path: Path) -> None:
    target = assemble(demo_models.card("digits"), tmp_path / "digits" / "1.0.0")
    digest, before = artefacts.digest(target), target.stat().st_ino
    assemble(demo_models.card("digits"), target)
    assert target.stat().st_ino == before
    (target / "network.safetensors").write_bytes(b"damaged")
    (target / "evil.pt").write_bytes(b"x")
    assemble(demo_models.card("digits"), target)
    assert artefacts.digest(target) == digest
    assert [file.name for file in target.parent.iterdir()] == ["1.0.0"]


def test_repairing_an_artefact_does_not_touch_the_committed_weights(tmp_path: Path) -> None:
    card = demo_models.card("digits")
    target = assemble(card, tmp_path / "1.0.0")
    assert not (target / "network.safetensors").samefile(card.directory / "network.safetensors")


def test_a_failed_assembly_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "ENCODER_PACKAGE", "a_package_that_nobody_installed")
    with pytest.raises(EncoderMissing, match="pip install"):
        assemble(demo_models.card("minilm"), tmp_path / "1.0.0")
    assert list(tmp_path.iterdir()) == []


def test_it_copies_where_it_cannot_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    target = assemble(demo_models.card("minilm"), tmp_path / "1.0.0")
    assert artefacts.digest(target) == artefacts.digest(demo_models.artefact("minilm"))


def test_the_encoder_package_is_never_imported() -> None:
    demo_models.runtime("minilm")
    assert installation.ENCODER_PACKAGE not in sys.modules


def test_no_model_code_unpickles() -> None:
    root = Path(installation.__file__).parents[1]
    files = [
        *root.joinpath("runtimes").glob("*.py"),
        *root.joinpath("demo").glob("*.py"),
        root / "registry" / "artefacts.py",
    ]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "joblib", "dill"}, file
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) != ("torch", "load"), file


def sdist(path: Path, files: dict[str, str]) -> Path:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"hutto_ICWSM_2014/{name}")
            member.size = len(content.encode())
            archive.addfile(member, io.BytesIO(content.encode()))
    with zipfile.ZipFile(path, "w") as outer:
        outer.writestr(opinions.INNER_ARCHIVE, inner.getvalue())
    return path


def test_opinions_are_read_from_the_archive_and_split_by_review(tmp_path: Path) -> None:
    reviews = "".join(f"{review}_{line}\t1.5\tgood {review} {line}\r\n" for review in range(200) for line in range(3))
    tweets = "1\t2.7\tI &lt;3 it\r\n2\t-0.51\tbad\r\n3\t0.5\tnobody agrees\r\n4\t-3\tTwice\r\n5\t-3\ttwice\r\n"
    names = list(opinions.SETS.values())
    found = opinions.read(sdist(tmp_path / "v.zip", dict(zip(names, (tweets, "", reviews), strict=True))))
    rated = [(opinion.text, opinion.label) for opinion in found if opinion.data == "tweets"]
    assert rated == [("I <3 it", POSITIVE), ("bad", NEGATIVE), ("Twice", NEGATIVE), ("twice", NEGATIVE)]
    assert len({opinion.part for opinion in found if opinion.text.lower() == "twice"}) == 1
    snippets = [opinion for opinion in found if opinion.data == "Amazon snippets"]
    parts_of_review: dict[str, set[Part]] = {}
    for opinion in snippets:
        parts_of_review.setdefault(opinion.text.split()[1], set()).add(opinion.part)
    assert all(len(parts) == 1 for parts in parts_of_review.values())
    shares = Counter(opinion.part for opinion in snippets)
    assert 0.1 < shares[Part.HELD_OUT] / 600 < 0.3
    assert shares[Part.TRAIN] > shares[Part.HELD_OUT] > 0


def test_another_file_is_not_mistaken_for_the_data(tmp_path: Path) -> None:
    (tmp_path / "other.zip").write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="not the source distribution"):
        opinions.read(tmp_path / "other.zip")
