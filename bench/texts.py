"""Distinct texts of the lengths that customers send: from a short remark to a long review, the same for a seed."""

import random

_SUBJECTS = (
    "the battery", "the support team", "this film", "the delivery", "the new release", "the screen", "our hotel room",
    "the plot", "the coffee machine", "the sales person", "the second season", "the keyboard", "the refund", "the app",
    "the soundtrack", "the packaging", "the waiter", "the manual", "the price", "the update",
)  # fmt: skip
_VERBS = ("was", "felt", "turned out", "seemed", "is", "looked", "became", "stayed")
_OPINIONS = (
    "absolutely wonderful", "a complete waste of money", "better than expected", "painfully slow", "rather ordinary",
    "impressive in every detail", "so disappointing that we sent it back", "fine, although a little noisy",
    "the best I have had in years", "unusable after two weeks", "charming and honest", "far too expensive",
    "exactly what the description promised", "badly made", "a joy to use", "confusing for all of the family",
)  # fmt: skip
_LINKS = (". After a month ", ", and ", ", but ", "; on the other hand ", ". To my surprise ", " because ")


def distinct(count: int, *, seed: int) -> list[str]:
    """``count`` different texts; half of them shorter than about 20 words, some longer than 60."""
    rng = random.Random(seed)
    made: dict[str, None] = {}
    while len(made) < count:
        clauses = min(8, max(1, round(rng.lognormvariate(0.6, 0.6))))
        text = "".join(
            (rng.choice(_LINKS) if index else "")
            + f"{rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_OPINIONS)}"
            for index in range(clauses)
        )
        # A number keeps short texts distinct without making them longer than people's are.
        made[f"{text[0].upper()}{text[1:]}, order {rng.randrange(10_000_000)}."] = None
    return list(made)
