"""``manage.py install_demo_models``: the three demo models, from the files of this repository and its packages."""

from typing import Any

from django.core.management.base import CommandError

from inference.demo.installation import EncoderMissing
from inference.demo.registration import install
from tenants.commands import InstallationCommand


class Command(InstallationCommand):
    help = "Install the demo models below the models folder and register their versions. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            for line in install():
                self.stdout.write(line)
        except (EncoderMissing, OSError) as error:
            raise CommandError(str(error)) from error
