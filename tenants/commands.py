"""The base of management commands that change an installation: they refuse another installation's Redis."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tenants import installation


class InstallationCommand(BaseCommand):
    """Compares the Redis servers with SQL before it does anything; what does not belong together is one line."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            installation.require()
        except (installation.ForeignRedisError, installation.UnknownRedisError) as error:
            raise CommandError(str(error)) from error
        return super().execute(*args, **options)
