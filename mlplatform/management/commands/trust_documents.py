"""Registers every ``.graphql`` file of a folder as a trusted document of a tenant."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from mlplatform.graphql.trusting import judge
from mlplatform.lib.errors import PlatformError
from tenants import trusted_documents
from tenants.commands import InstallationCommand
from tenants.models import Tenant


class Command(InstallationCommand):
    help = "Register the .graphql files of a folder as trusted documents of a tenant: all of them, or none."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant", help="the tenant's slug")
        parser.add_argument("folder", type=Path, help="where the files are; those of folders in it count too")

    def handle(self, *args: Any, tenant: str, folder: Path, **options: Any) -> None:
        owner = Tenant.objects.filter(slug=tenant).first()
        if owner is None:
            raise CommandError(f"There is no tenant {tenant!r}.")
        files = sorted(folder.rglob("*.graphql"))
        if not files:
            raise CommandError(f"There is no .graphql file in {folder}.")
        with transaction.atomic():
            for file in files:
                name = str(file.relative_to(folder).with_suffix(""))[-trusted_documents.MAX_NAME :]
                try:
                    document = trusted_documents.register(
                        tenant=owner, name=name, text=file.read_text(encoding="utf-8"), judge=judge
                    )
                except PlatformError as error:
                    raise CommandError(f"{file}: {error.detail}") from error
                except UnicodeDecodeError as error:
                    raise CommandError(f"{file}: this is not UTF-8.") from error
                self.stdout.write(f"sha256:{document.sha256}  {document.name}")
