"""The texts of the scenarios that compute must be distinct, or answers would come from the cache."""

from bench import texts


def test_texts_are_distinct_within_and_between_rounds() -> None:
    rounds = [texts.distinct(2000, seed=seed) for seed in (100, 101, 102)]
    assert len({text for each in rounds for text in each}) == 6000


def test_a_seed_gives_the_same_texts_again() -> None:
    assert texts.distinct(50, seed=7) == texts.distinct(50, seed=7)


def test_lengths_are_those_of_remarks_and_reviews() -> None:
    words = sorted(len(text.split()) for text in texts.distinct(1000, seed=1))
    assert words[0] <= 10
    assert 12 <= words[500] <= 25
    assert words[-1] >= 50
