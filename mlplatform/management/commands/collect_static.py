"""``manage.py collect_static``: put the static files under names that browsers may keep, where anything has changed."""

from typing import Any

from django.core.management.base import BaseCommand

from mlplatform import static_files


class Command(BaseCommand):
    help = "Gather the static files in DATA_DIR/static, named by their content and packed; return at once if none has changed."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write("Static files were gathered." if static_files.collect() else "No static file has changed.")
