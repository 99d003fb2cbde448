"""A finding about a version, as `manage.py measure_model` has it; each test says what matters to it."""

import datetime as dt
from dataclasses import replace
from typing import Any, Final

from inference.models import Measurement, ModelVersion
from inference.registry import measurements, versions
from inference.types import MeasuredOption

FLOAT32: Final = MeasuredOption(
    precision="float32",
    acceleration="none",
    device="Some Processor",
    threads=1,
    accuracy=0.842,
    inputs=3222,
    data="held-out texts",
    inputs_per_s=42.5,
    alone_ms=66.25,
    measured_at=dt.datetime(2026, 11, 23, 8, 30, tzinfo=dt.UTC),
)
INT8: Final = replace(FLOAT32, precision="int8", accuracy=0.8405, inputs_per_s=60.25, alone_ms=28.125)


def measured(version: ModelVersion, option: MeasuredOption = FLOAT32, **changes: Any) -> Measurement:
    """The finding is kept, and what this process holds in memory is forgotten."""
    row = measurements.record(version=version, measured=replace(option, **changes))
    versions.forget()
    return row
