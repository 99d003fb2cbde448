"""`manage.py measure_model NAME@VERSION`: accuracy and speed of a version in several precisions, side by side."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference import canonical, structured
from inference.models import Acceleration, ModelVersion, Precision
from mlplatform.lib.errors import PlatformError


class Command(BaseCommand):
    """What the card's `[accuracy]` should say of each option is measured here."""

    help = (
        "Measure a classifier on inputs whose labels are known: the share of right answers, inputs a second in full batches, "
        "and the time of one input alone. Nothing is changed; write what was found into the card of the next version."
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
        parser.add_argument("--precision", action="append", choices=Precision.values, help="may be given several times")
        parser.add_argument("--acceleration", default=Acceleration.NONE.value, choices=Acceleration.values)
        parser.add_argument("--device", default="auto")
        parser.add_argument("--threads", type=int, default=0, help="0: one less than the cores")
        parser.add_argument("--most", type=int, default=0, help="measure on so many inputs; 0 for all")

    def handle(self, *args: Any, **options: Any) -> None:
        # Imported here: torch takes seconds, which `manage.py help` need not wait for.
        from inference.runtimes import devices, inputs, measuring
        from inference.worker import Worker

        name, _, number = options["version"].partition("@")
        version = ModelVersion.objects.select_related("model").filter(model__name=name, version=number).first()
        if version is None:
            raise CommandError(f"There is no model version {options['version']!r}.")
        try:
            found = list(_demo(options["vader_sdist"]) if options["vader_sdist"] else _read(options["data"], version))
        except (OSError, ValueError, KeyError, PlatformError) as error:
            raise CommandError(f"The data cannot be read: {error}") from error
        found = found[: options["most"] or None]
        threads = devices.configure_threads(options["threads"])
        spec = replace(
            Worker().spec(version), device=devices.resolve(options["device"]), acceleration=options["acceleration"]
        )
        given = [inputs.decode(payload) for payload, _ in found]
        labels = [label for _, label in found]
        self.stdout.write(f"{version} on {spec.device}, {threads} threads, {len(found)} inputs")
        for precision in options["precision"] or [version.precision]:
            measured = measuring.measure(replace(spec, precision=precision), given, labels)
            self.stdout.write(
                f"{precision}, {measured.acceleration}: accuracy {measured.accuracy:.4f}, "
                f"{measured.inputs_per_s:.0f} inputs/s, {measured.alone_ms:.2f} ms alone"
            )


def _read(file: Path | None, version: ModelVersion) -> Iterator[tuple[bytes, int]]:
    """Canonical inputs with the place of their label. Raises ValueError, KeyError or PlatformError for what is wrong."""
    if file is None:
        raise ValueError("give --data or --vader-sdist")
    for line in file.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        given = structured.read(values["input"], field="input")
        yield canonical.encode(version.input_schema, given, field="input"), version.labels.index(values["label"])


def _demo(sdist: Path) -> Iterator[tuple[bytes, int]]:
    from inference.demo import opinions

    for opinion in opinions.read(sdist):
        if opinion.part == opinions.Part.HELD_OUT:
            yield canonical.encode({"kind": "text"}, opinion.text, field="input"), opinion.label
