"""``manage.py installation …``: whose the Redis servers are, and making them this installation's deliberately."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants import installation
from tenants.installation import ForeignRedisError, UnknownRedisError


class Command(BaseCommand):
    """It may look at what does not belong together, so it is no InstallationCommand itself."""

    help = "Show, check or change to which installation this database and its Redis servers belong; docs/settings.md."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True, metavar="command")
        commands.add_parser("show", help="The id in SQL and the one of each Redis")
        commands.add_parser("check", help="Fail when a Redis bears another id; give the id to those that bear none")
        adopted = commands.add_parser(
            "adopt", help="Make every Redis that bears another installation's id this one's, with all that is in it"
        )
        adopted.add_argument("id", help="the id that the Redis bears now, as the refusal names it")
        commands.add_parser("renew", help="Give this database a new id: for a copy of another installation's")

    def handle(self, *args: Any, command: str, **options: Any) -> None:
        try:
            match command:
                case "show":
                    self._show()
                case "check":
                    installation.require()
                    self._show()
                case "adopt":
                    self._adopt(options["id"])
                case "renew":
                    old, new = installation.renew()
                    self.stdout.write(f"The database belonged to installation {old} and belongs to {new} now.")
        except (ForeignRedisError, UnknownRedisError) as error:
            raise CommandError(str(error)) from error

    def _show(self) -> None:
        self.stdout.write(f"SQL: installation {installation.uid()}")
        for server in installation.servers():
            try:
                said = f"installation {server.bears() or 'not told yet'}"
            except UnknownRedisError as error:
                said = str(error)
            self.stdout.write(f"{server}: {said}")

    def _adopt(self, other: str) -> None:
        adopted = installation.adopt(other)
        installation.require()
        for server in adopted:
            self.stdout.write(f"{server} is this installation's now.")
        if not adopted:
            self.stdout.write(f"No Redis bears {other}: all are this installation's already.")
