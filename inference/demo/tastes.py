"""Building the demo model `recommender`: three numbers fitted on simulated readers, measured on others."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from inference.demo import articles
from inference.demo.articles import CANDIDATES, FOUND_OF_ARTICLE, LIKED, LIKED_OF_ARTICLE, Readers, Sentence
from inference.demo.cards import DemoCard
from inference.demo.opinions import Part
from inference.runtimes import training
from inference.runtimes.protocol import Array
from inference.runtimes.scoring import SCORING

FIRST: Final = 10


def build(card: DemoCard, sentences: Sequence[Sentence], vectors: Array, *, today: str) -> DemoCard:
    """Fit on the training articles, save the numbers beside the card, and give the card with what held-out articles showed.

    ``vectors`` are the embeddings of the sentences, float32 [n, dimensions].
    """
    train = articles.readers(sentences, vectors, Part.TRAIN)
    scoring = training.fit_scoring(train.inputs[:, :LIKED], train.inputs[:, LIKED:], train.fitting)
    training.save(scoring, card.directory / SCORING)
    held_out = articles.readers(sentences, vectors, Part.HELD_OUT)
    scores = training.scores(scoring, held_out.inputs[:, :LIKED], held_out.inputs[:, LIKED:])
    return replace(card, accuracy_note=_note(held_out, scores, today=today))


def _note(held_out: Readers, scores: Array, *, today: str) -> str:
    liked, candidates = held_out.inputs[:, :LIKED], held_out.inputs[:, LIKED:]
    plain: Array = (candidates @ liked.mean(axis=1)[:, :, None])[:, :, 0]
    fitting = held_out.fitting
    per_reader = int(fitting[0].sum())
    return (
        f"Content-based: it compares embeddings and knows nothing of other users, of popularity or of time. Measured {today} on"
        f" {len(fitting)} simulated readers of held-out opinion articles (20 % of the articles in the source distribution of"
        f" vaderSentiment 0.5, by a hash; `manage.py build_demo_models --only recommender`): each likes {LIKED_OF_ARTICLE}"
        f" sentences of each of two articles; of {CANDIDATES} candidates {per_reader} are other sentences of these two"
        f" ({FOUND_OF_ARTICLE} each), the rest are of other articles. A fitting candidate is scored higher than another with the"
        f" probability {articles.chance(scores, fitting):.3f} (guessing 0.5; cosine with the mean of what is liked"
        f" {articles.chance(plain, fitting):.3f}); {articles.found(scores, fitting, first=FIRST):.1%} of the fitting ones are"
        f" among the first {FIRST} (guessing {FIRST / CANDIDATES:.1%}; mean {articles.found(plain, fitting, first=FIRST):.1%})."
        " No real users were observed."
    )
