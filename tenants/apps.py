from django.apps import AppConfig
from django.db.models.signals import post_migrate


class TenantsConfig(AppConfig):
    name = "tenants"
    verbose_name = "Tenants and keys"

    def ready(self) -> None:
        from tenants import audit
        from tenants.deprecations import released

        audit.register()
        post_migrate.connect(released.ensure_rows, sender=self)
