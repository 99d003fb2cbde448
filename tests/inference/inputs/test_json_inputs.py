"""Inputs that are objects: members that are null are absent."""

from typing import Any

import pytest

from inference.inputs import json_inputs
from inference.types import ImageFile, TextPair
from mlplatform.lib.errors import PlatformError


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"image": "AQ==", "text": None, "pair": None}, ImageFile(b"\x01")),
        ({"text": "a", "pair": "b", "image": None}, TextPair("a", "b")),
        ("text", "text"),
        ([1, None], [1, None]),
    ],
)
def test_null_is_absent(given: Any, read: Any) -> None:
    assert json_inputs.read(given, field="input") == read


@pytest.mark.parametrize("given", [{"image": None}, {"text": "a", "pair": None}, {"text": None, "pair": "b"}])
def test_what_is_needed_and_null_is_missing(given: dict[str, Any]) -> None:
    problems = []
    for one in (given, {name: value for name, value in given.items() if value is not None}):
        with pytest.raises(PlatformError) as caught:
            json_inputs.read(one, field="input")
        problems.append((caught.value.field, caught.value.detail))
    assert problems[0] == problems[1]
    assert problems[0][0] == "input"
