"""How each API version writes a prediction: one module a version, chosen by name."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from inference.predict import Answer
from inference.rest.representations import v1, v1_1, v2
from inference.types import PredictRequest


class Representation(Protocol):
    """What a version's module offers."""

    def parse(self, body: Mapping[str, Any], *, model: str = "") -> PredictRequest: ...

    def render(self, answer: Answer) -> dict[str, Any]: ...


PREDICT: Final[Mapping[str, Representation]] = {"v1": v1, "v1.1": v1_1, "v2": v2}
