"""`manage.py measure_model NAME@VERSION`: accuracy and speed of a version in several precisions, side by side."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError, CommandParser

from inference.inputs import canonical, json_inputs
from inference.models import Acceleration, Measurement, ModelVersion, Precision
from inference.registry import measurements, names
from inference.registry.artefacts import ArtefactError
from inference.types import MeasuredOption
from mlplatform.lib import clock
from mlplatform.lib.errors import PlatformError
from tenants.commands import InstallationCommand

if TYPE_CHECKING:
    from inference.runtimes.measuring import Measured

_MAX_DATA: Final = Measurement._meta.get_field("data").max_length or 0


class Command(InstallationCommand):
    """What the card's `[accuracy]` should say of each option is measured here."""

    help = (
        "Measure a classifier on inputs whose labels are known: the share of right answers, inputs a second in full batches, "
        "and the time of one input alone. What is found is kept beside the version and shown to customers; the version itself "
        "never changes: write it into the card of the next one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", help="such as sentiment@2.0.0")
        parser.add_argument(
            "--data",
            type=Path,
            help='JSON lines {"input": …, "label": "…"}, with inputs as POST /v2/predict takes them',
        )
        parser.add_argument(
            "--vader-sdist", type=Path, help="in place of data: the held-out texts of vaderSentiment 0.5"
        )
        parser.add_argument(
            "--data-name", default="", help="what customers read of the data; the name of its file unless given"
        )
        parser.add_argument(
            "--precision",
            action="append",
            choices=Precision.values,
            help="may be given several times; the version's own unless given",
        )
        parser.add_argument("--acceleration", choices=Acceleration.values, help="the version's own unless given")
        parser.add_argument("--device", default="auto")
        parser.add_argument("--threads", type=int, default=0, help="0: one less than the cores")
        parser.add_argument("--most", type=int, default=0, help="measure on so many inputs; 0 for all")
        parser.add_argument("--dry-run", action="store_true", help="say what is found and keep nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        # Imported here: torch takes seconds, which `manage.py help` need not wait for.
        from inference.isolation.loading import load
        from inference.runtimes import devices, inputs, measuring
        from inference.runtimes.protocol import RuntimeFault
        from inference.worker.process import Worker

        version = _version(options["version"])
        data = _data_name(options)
        try:
            found = list(_demo(options["vader_sdist"]) if options["vader_sdist"] else _read(options["data"], version))
        except (OSError, ValueError, KeyError, PlatformError) as error:
            raise CommandError(f"The data cannot be read: {error}") from error
        try:
            device, threads = devices.resolve(options["device"]), devices.configure_threads(options["threads"])
        except ValueError as error:
            raise CommandError(str(error)) from error
        found = found[: options["most"] or None]
        spec = replace(
            Worker().spec(version), device=device, acceleration=options["acceleration"] or version.acceleration
        )
        given = [inputs.decode(payload) for payload, _ in found]
        labels = [label for _, label in found]
        named = measuring.device_name(device)
        self.stdout.write(
            f"{version} on {device} ({named}), {threads} {'thread' if threads == 1 else 'threads'}, {len(found)} inputs of {data}"
        )
        for precision in options["precision"] or [version.precision]:
            try:
                measured = measuring.measure(replace(spec, precision=precision), given, labels, load=load)
            except (RuntimeFault, ArtefactError, ValueError) as error:
                raise CommandError(f"{precision}, {spec.acceleration}: {error}") from error
            option = _option(measured, device=named, threads=threads, data=data)
            if not options["dry_run"]:
                measurements.record(version=version, measured=option)
            self.stdout.write(_told(option, version))
        self.stdout.write(
            "Nothing was kept: this was a dry run." if options["dry_run"] else "Kept, and shown with the version."
        )


def _version(reference: str) -> ModelVersion:
    """Raises CommandError."""
    version = names.version(reference)
    if version is None:
        raise CommandError(f"There is no model version {reference!r}.")
    return version


def _data_name(options: dict[str, Any]) -> str:
    """What is kept of where the inputs come from. Raises CommandError for one that is too long, before anything is measured."""
    given: str = options["data_name"]
    name = given or ("vaderSentiment 0.5, held out" if options["vader_sdist"] else getattr(options["data"], "name", ""))
    if len(name) > _MAX_DATA:
        raise CommandError(f"The name of the data has at most {_MAX_DATA} characters; give another by --data-name.")
    return name


def _option(measured: "Measured", *, device: str, threads: int, data: str) -> MeasuredOption:
    return MeasuredOption(
        precision=measured.precision,
        acceleration=measured.acceleration,
        device=device,
        threads=threads,
        accuracy=measured.accuracy,
        inputs=measured.n,
        data=data,
        inputs_per_s=measured.inputs_per_s,
        alone_ms=measured.alone_ms,
        measured_at=clock.now(),
    )


def _told(option: MeasuredOption, version: ModelVersion) -> str:
    own = (option.precision, option.acceleration) == (version.precision, version.acceleration)
    return (
        f"{option.precision}, {option.acceleration}: accuracy {option.accuracy:.4f}, {option.inputs_per_s:.0f} inputs/s, "
        f"{option.alone_ms:.2f} ms alone{'; the version serves so' if own else ''}"
    )


def _read(file: Path | None, version: ModelVersion) -> Iterator[tuple[bytes, int]]:
    """Canonical inputs with the place of their label. Raises ValueError, KeyError or PlatformError for what is wrong."""
    if file is None:
        raise ValueError("give --data or --vader-sdist")
    for line in file.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        given = json_inputs.read(values["input"], field="input")
        yield canonical.encode(version.input_schema, given, field="input"), version.labels.index(values["label"])


def _demo(sdist: Path) -> Iterator[tuple[bytes, int]]:
    from inference.demo import opinions

    for opinion in opinions.read(sdist):
        if opinion.part == opinions.Part.HELD_OUT:
            yield canonical.encode({"kind": "text"}, opinion.text, field="input"), opinion.label
