"""The description of a model version on its way to the process that loads it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference.runtimes.protocol import RuntimeSpec


def spec_to(spec: RuntimeSpec) -> dict[str, Any]:
    """As MessagePack has it."""
    values = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    return {
        **values,
        "artefact": str(spec.artefact.resolve()),
        "input_schema": dict(spec.input_schema),
        "options": dict(spec.options),
    }


def spec_from(values: Mapping[str, Any]) -> RuntimeSpec:
    """As ``spec_to`` wrote it."""
    return RuntimeSpec(**{**values, "artefact": Path(values["artefact"])})
