from pathlib import Path

import numpy as np
import pytest

from inference.runtimes import training
from inference.runtimes.heads import load_head, read_weights
from inference.runtimes.protocol import LoadError
from inference.runtimes.training import Examples, Recipe


def points(count: int, seed: int) -> Examples:
    """Points in a plane; the class is whether both signs agree, which no linear classifier can tell."""
    inputs = np.random.default_rng(seed).uniform(-1, 1, (count, 2)).astype(np.float32)
    return Examples(inputs, (inputs.prod(axis=1) > 0).astype(np.int64))


RECIPE = Recipe(epochs=15, learning_rate=5e-2, weight_decay=0.0, batch_size=64)


def test_a_head_learns_what_its_shape_allows_and_the_same_seed_gives_the_same_weights() -> None:
    train, validation, held_out = points(600, 1), points(100, 2), points(200, 3)
    accuracies = []
    for hidden in ((), (16,)):
        head = training.train_head(train, validation, hidden=hidden, classes=2, recipe=RECIPE)
        again = training.train_head(train, validation, hidden=hidden, classes=2, recipe=RECIPE)
        assert all((ours == theirs).all() for ours, theirs in zip(head.parameters(), again.parameters(), strict=True))
        accuracies.append((training.predict(head, held_out.inputs) == held_out.labels).mean())
    assert accuracies[0] < 0.7
    assert accuracies[1] > 0.9


def test_a_saved_head_answers_as_before(tmp_path: Path) -> None:
    data = points(200, 4)
    head = training.train_head(data, data, hidden=(4,), classes=2, recipe=RECIPE)
    training.save(head, tmp_path / "new" / "head.safetensors")
    loaded = load_head(read_weights(tmp_path / "new" / "head.safetensors"), outputs=2)
    assert (training.predict(loaded, data.inputs) == training.predict(head, data.inputs)).all()


def test_a_head_with_a_gap_in_its_layers_is_refused(tmp_path: Path) -> None:
    data = points(50, 5)
    head = training.train_head(data, data, hidden=(4, 4), classes=2, recipe=RECIPE)
    training.save(head, tmp_path / "head.safetensors")
    weights = read_weights(tmp_path / "head.safetensors")
    del weights["layers.1.weight"]
    with pytest.raises(LoadError, match=r"layers\.0"):
        load_head(weights, outputs=2)
