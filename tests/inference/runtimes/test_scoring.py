"""Attention scoring: padding is nothing, places and company do not matter, and the demo model ranks what is alike first."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from inference.runtimes import loading
from inference.runtimes.protocol import Array, LoadError
from inference.runtimes.scoring import SCORING, SHORTEST
from tests.support import demo_models
from tests.support.examples import examples

LIKED, CANDIDATES, DIMENSIONS = 16, 128, 384
NEAR = 1e-5


def run(*inputs: Array) -> Array:
    return demo_models.runtime("recommender").run(list(inputs))


def unit_rows(generator: np.random.Generator, rows: int) -> Array:
    vectors = generator.normal(size=(rows, DIMENSIONS)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def tensor(seed: int, *, liked: int = LIKED, candidates: int = CANDIDATES) -> Array:
    """Embeddings of so many liked rows and candidates, the others zero."""
    generator = np.random.default_rng(seed)
    made = np.zeros((LIKED + CANDIDATES, DIMENSIONS), dtype=np.float32)
    made[:liked] = unit_rows(generator, liked)
    made[LIKED : LIKED + candidates] = unit_rows(generator, candidates)
    return made


seeds = st.integers(0, 2**32 - 1)
few = examples(25)


@few
@given(seeds, st.integers(1, LIKED), st.integers(0, CANDIDATES))
def test_scores_lie_between_0_and_1_and_padding_has_none(seed: int, liked: int, candidates: int) -> None:
    (scores,) = run(tensor(seed, liked=liked, candidates=candidates))
    assert scores.shape == (CANDIDATES,)
    assert ((scores[:candidates] > 0) & (scores[:candidates] < 1)).all()
    assert (scores[candidates:] == 0).all()


@few
@given(seeds, st.permutations(range(LIKED)), st.randoms(use_true_random=False))
def test_places_do_not_matter(seed: int, liked: list[int], random: Any) -> None:
    made = tensor(seed, liked=5, candidates=100)
    order = random.sample(range(CANDIDATES), CANDIDATES)
    moved = np.concatenate([made[:LIKED][liked], made[LIKED:][order]])
    (scores,), (again,) = run(made), run(moved)
    np.testing.assert_allclose(again, scores[order], atol=NEAR)


@few
@given(seeds, seeds, st.integers(1, LIKED))
def test_a_batch_is_each_of_it_alone(first: int, second: int, liked: int) -> None:
    inputs = [tensor(first, liked=liked), np.zeros((LIKED + CANDIDATES, DIMENSIONS), np.float32), tensor(second)]
    together = run(*inputs)
    for row, one in enumerate(inputs):
        np.testing.assert_allclose(together[row], run(one)[0], atol=NEAR)


@few
@given(seeds, st.floats(1e-3, 1.0), st.integers(1, CANDIDATES))
def test_a_candidate_is_scored_by_its_direction_whatever_its_company(seed: int, length: float, company: int) -> None:
    made = tensor(seed, liked=4)
    (scores,) = run(made)
    alone = made.copy()
    alone[LIKED] *= np.float32(length)
    alone[LIKED + company :] = 0
    (again,) = run(alone)
    assert again[0] == pytest.approx(scores[0], abs=1e-4)


def test_where_nothing_was_liked_nothing_is_scored() -> None:
    (scores,) = run(tensor(1, liked=0))
    assert (scores == 0).all()


@pytest.mark.parametrize("short", [0.0, SHORTEST / 2, 1e-30, 1e-45])
def test_rows_next_to_zero_are_padding_and_harm_nothing(short: float) -> None:
    made = tensor(2, liked=3, candidates=10)
    (scores,) = run(made)
    made[3:LIKED, 0] = short
    made[LIKED + 10 :, 0] = short
    (again,) = run(made)
    np.testing.assert_allclose(again, scores, atol=NEAR)
    assert (again[10:] == 0).all()


def test_a_taste_of_two_kinds_is_served_by_either() -> None:
    """The mean of two opposite likes is nothing; attention looks at the nearer one."""
    made = tensor(3, liked=0, candidates=2)
    first, second = np.zeros(DIMENSIONS, np.float32), np.zeros(DIMENSIONS, np.float32)
    first[0], second[1] = 1, 1
    made[0], made[1] = first, second
    made[LIKED] = first
    made[LIKED + 2] = -first
    (scores,) = run(made)
    assert scores[0] > 0.9
    assert scores[2] < 0.1


LIKES = ["How to prune apple trees in winter.", "Sowing tomatoes on the window sill."]
GARDEN = ["A watering plan for dry summers in the vegetable garden.", "Which roses grow well in the shade?"]
OTHER = [
    "The midfielder scored twice in extra time.",
    "Interest rates rose by half a point.",
    "A new phone with two cameras.",
]


def test_what_is_alike_comes_first() -> None:
    vectors = demo_models.runtime("minilm").run([*LIKES, *OTHER, *GARDEN])
    made = np.zeros((LIKED + CANDIDATES, DIMENSIONS), np.float32)
    made[: len(LIKES)] = vectors[: len(LIKES)]
    made[LIKED : LIKED + len(OTHER) + len(GARDEN)] = vectors[len(LIKES) :]
    (scores,) = run(made)
    others, garden = scores[: len(OTHER)], scores[len(OTHER) : len(OTHER) + len(GARDEN)]
    assert garden.min() > others.max() + 0.2


# --- Loading ----------------------------------------------------------------------------------------------------------------


def load(
    directory: Path, *, outputs: int = CANDIDATES, shape: tuple[int, ...] = (144, 384), **weights: Any
) -> loading.CheckedRuntime:
    numbers = {"temperature": 8.0, "scale": 8.0, "offset": 0.3} | weights
    save_file(
        {name: np.array(value, np.float32).reshape(-1) for name, value in numbers.items() if value is not None},
        directory / SCORING,
    )
    spec = demo_models.spec("recommender", directory=directory)
    changed = {name: getattr(spec, name) for name in spec.__slots__}
    changed |= {
        "outputs": outputs,
        "input_schema": {"kind": "tensor", "shape": list(shape), "minimum": -1, "maximum": 1},
    }
    return loading.load(type(spec)(**changed))


def test_it_loads_any_shape_that_leaves_room_for_likes(tmp_path: Path) -> None:
    runtime = load(tmp_path, outputs=3, shape=(5, 7))
    assert runtime.run([np.zeros((5, 7), dtype=np.float32)]).shape == (1, 3)


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"outputs": 144}, "no rows beside"),
        ({"shape": (144,)}, "no rows beside"),
        ({"shape": (2, 144, 384)}, "no rows beside"),
        ({"offset": None}, "does not hold"),
        ({"more": 1.0}, "does not hold"),
        ({"scale": [1.0, 2.0]}, "does not hold"),
        ({"temperature": float("nan")}, "not finite"),
        ({"temperature": float("inf")}, "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, declared: dict[str, Any], reason: str) -> None:
    with pytest.raises(LoadError, match=reason):
        load(tmp_path, **declared)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / SCORING).write_bytes(b"damaged")
    with pytest.raises(LoadError, match=SCORING):
        loading.load(demo_models.spec("recommender", directory=tmp_path))
