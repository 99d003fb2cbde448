"""What was measured of a version: kept once for each option and device, without touching the version."""

import io
import json
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import IntegrityError, transaction

from inference.models import Measurement, ModelVersion, VersionState
from inference.registry import artefacts, measurements, versions
from inference.runtimes import devices, measuring
from tests.support import hf_folders
from tests.support.hf_folders import TEXTS
from tests.support.measured import FLOAT32, INT8, measured
from tests.support.models_folder import models_dir
from tests.support.tiny_model import make_version

__all__ = ["models_dir"]

pytestmark = pytest.mark.django_db


def values(version: ModelVersion) -> dict[str, Any]:
    return dict(ModelVersion.objects.filter(pk=version.pk).values().get())


@pytest.mark.parametrize(
    "other", [{"precision": "int8"}, {"acceleration": "compile"}, {"device": "Another Processor"}, {"threads": 2}]
)
def test_another_option_is_another_row_and_the_same_one_is_renewed(other: dict[str, Any]) -> None:
    version = make_version()
    first = measured(version)
    again = measured(version, accuracy=0.9, inputs=10, data="others", inputs_per_s=1.5, alone_ms=700.5)
    assert again.pk == first.pk
    assert measured(version, **other).pk != first.pk
    assert measured(make_version("large")).pk != first.pk
    assert Measurement.objects.count() == 3
    row = Measurement.objects.get(pk=first.pk)
    assert (row.accuracy, row.inputs, row.data, row.inputs_per_s, row.alone_ms) == (0.9, 10, "others", 1.5, 700.5)


def test_the_version_stays_as_it_is() -> None:
    version = make_version()
    before = values(version)
    assert (before["accuracy"], before["accuracy_note"]) == (None, "")
    measured(version)
    assert values(version) == before


@pytest.mark.parametrize(
    "wrong", [{"accuracy": 1.1}, {"accuracy": -0.1}, {"inputs": 0}, {"inputs_per_s": 0.0}, {"alone_ms": 0.0}]
)
def test_what_is_no_measurement_is_refused(wrong: dict[str, Any]) -> None:
    version = make_version()
    with pytest.raises(IntegrityError), transaction.atomic():
        measurements.record(version=version, measured=replace(FLOAT32, **wrong))
    assert not Measurement.objects.exists()


def test_what_is_served_knows_it_in_figures_that_mean_something(
    django_capture_on_commit_callbacks: Any, django_assert_num_queries: Any
) -> None:
    version = make_version()
    make_version("tiny", "2.0.0", VersionState.READY)
    assert versions.resolve("tiny").measurements == ()
    with django_capture_on_commit_callbacks(execute=True):
        measurements.record(
            version=version, measured=replace(INT8, accuracy=2 / 3, inputs_per_s=60.2512, alone_ms=1.23456)
        )
        measurements.record(version=version, measured=FLOAT32)
    ref = versions.resolve("tiny")
    rounded = replace(INT8, accuracy=0.6667, inputs_per_s=60.3, alone_ms=1.235)
    assert ref.measurements == (FLOAT32, rounded), "in an order that stays"
    assert (ref.precision, ref.acceleration) == ("float32", "none")
    assert versions.resolve("tiny@2.0.0").measurements == ()
    with django_assert_num_queries(0):
        assert len(versions.answering()[0].measurements) == 2


@pytest.fixture
def classifier(models_dir: Path) -> ModelVersion:
    """A version whose artefact is a real small encoder, with nothing said of its accuracy."""
    folder = hf_folders.write(models_dir / "tiny" / "1.0.0", "bert", outputs=2)
    return make_version(digest=artefacts.digest(folder), input_schema={"kind": "text", "max_chars": 1000})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "held-out.jsonl"
    file.write_text("".join(json.dumps({"input": text, "label": "yes"}) + "\n" for text in TEXTS))
    return file


def run(*arguments: str | Path) -> str:
    out = io.StringIO()
    # As many threads as there are, so that the tests after this one have as many.
    threads = ("--threads", str(torch.get_num_threads()))
    call_command("measure_model", *[str(argument) for argument in (*arguments, *threads)], stdout=out)
    return out.getvalue()


def test_the_command_keeps_what_it_finds(classifier: ModelVersion, data: Path) -> None:
    before = values(classifier)
    said = run("tiny@1.0.0", "--data", data, "--device", "cpu", "--precision", "float32", "--precision", "int8")
    own, other = Measurement.objects.all()
    assert (own.precision, other.precision) == ("float32", "int8")
    for row in (own, other):
        assert row.version == classifier
        assert (row.acceleration, row.inputs, row.data) == ("none", 4, "held-out.jsonl")
        assert row.device == measuring.device_name("cpu") != ""
        assert row.threads == torch.get_num_threads()
        assert f"{row.precision}, none: accuracy {row.accuracy:.4f}, {row.inputs_per_s:.0f} inputs/s" in said
    (line,) = [line for line in said.splitlines() if "the version serves so" in line]
    assert line.startswith("float32, none")
    assert said.endswith("Kept, and shown with the version.\n")
    assert values(classifier) == before


def test_the_versions_own_options_unless_others_are_given(classifier: ModelVersion, data: Path) -> None:
    ModelVersion.objects.update(precision="int8")
    run("tiny@1.0.0", "--data", data, "--device", "cpu", "--data-name", "Four texts", "--most", "3")
    row = Measurement.objects.get()
    assert (row.precision, row.acceleration, row.data, row.inputs) == ("int8", "none", "Four texts", 3)


def test_a_dry_run_keeps_nothing(classifier: ModelVersion, data: Path) -> None:
    said = run("tiny@1.0.0", "--data", data, "--device", "cpu", "--dry-run")
    assert "float32, none: accuracy" in said
    assert said.endswith("Nothing was kept: this was a dry run.\n")
    assert not Measurement.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["tiny@9.9.9", "--data", "DATA"], "There is no model version 'tiny@9.9.9'."),
        (["tiny@1.0.0"], "The data cannot be read: give --data or --vader-sdist"),
        (["tiny@1.0.0", "--data", "DATA", "--data-name", "x" * 201], "at most 200 characters"),
        (["tiny@1.0.0", "--data", "DATA", "--device", "abacus"], "Unknown device 'abacus'"),
        (["tiny@1.0.0", "--data", "DATA", "--device", "cpu", "--precision", "float16"], "float16, none: "),
    ],
)
def test_what_cannot_be_measured_says_why(
    classifier: ModelVersion, data: Path, arguments: list[str], reason: str
) -> None:
    with pytest.raises(CommandError, match=reason):
        run(*[str(data) if argument == "DATA" else argument for argument in arguments])
    assert not Measurement.objects.exists()


def test_a_processor_without_a_name_is_told_by_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(measuring, "CPU_INFO", info)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert measuring.device_name(devices.resolve("cpu")) == "aarch64"
    info.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert measuring.device_name("cpu") == "aarch64"
    info.write_text(f"processor\t: 0\nmodel name\t: Some   Processor {'x' * 200}\nmodel name\t: Other\n")
    assert measuring.device_name("cpu") == f"Some Processor {'x' * 200}"[:100]
