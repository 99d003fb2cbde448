"""``manage.py seed_demo``: demo customers, plans, prices and logins, and ``DATA_DIR/demo.json`` for scripts."""

from typing import Any

from mlplatform import demo_data
from tenants.commands import InstallationCommand


class Command(InstallationCommand):
    help = "Make the demo data that is missing and write DATA_DIR/demo.json (mode 600). Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"The demo's logins and keys are in {demo_data.seed()}")
