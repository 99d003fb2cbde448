"""``manage.py sync_roles``: write the staff's roles and their permissions."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mlplatform import roles


class Command(BaseCommand):
    help = "Make the staff's roles (support, models, billing) hold exactly their permissions."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            numbers = roles.sync()
        except LookupError as error:
            raise CommandError(str(error)) from error
        for name, number in numbers.items():
            self.stdout.write(f"{name}: {number} permissions")
