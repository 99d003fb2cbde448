"""`manage.py build_demo_models`: train the demo models anew from data that ships in packages."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    """Rebuilds the weights and the cards in `inference/demo/`, which are committed."""

    help = (
        "Train the demo models anew, measure them on held-out data, and write weights and cards to inference/demo/. "
        "Needs the development requirements. Changed weights are a new version where the old one is installed."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--vader-sdist",
            type=Path,
            help="source distribution of vaderSentiment 0.5; downloaded with pip when not given",
        )

        parser.add_argument("--only", default="", help="name of the one model to build, such as recommender")

    def handle(self, *args: Any, **options: Any) -> None:
        # Imported here: torch takes seconds, which `manage.py help` and every other command need not wait
        # for.
        from inference.demo import build
        from inference.demo.installation import EncoderMissing

        try:
            built = build.build(vader_sdist=options["vader_sdist"], report=self.stdout.write, only=options["only"])
        except (OSError, ValueError, EncoderMissing) as error:
            raise CommandError(str(error)) from error
        if not built:
            raise CommandError(f"There is no demo model {options['only']!r}.")
        self.stdout.write(self.style.SUCCESS(f"Built {len(built)} model versions."))
