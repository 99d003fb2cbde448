"""The roof as a Django app: it owns no table, but system checks, commands and static files that concern the whole."""

from django.apps import AppConfig


class PlatformConfig(AppConfig):
    name = "mlplatform"
    verbose_name = "Platform"

    def ready(self) -> None:
        # Importing registers the checks, and makes this Celery application the one that tasks are sent by.
        from mlplatform import celery, checks  # noqa: F401
