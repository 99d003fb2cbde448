from django.apps import AppConfig


class BillingConfig(AppConfig):
    name = "billing"
    verbose_name = "Plans, prices and usage"

    def ready(self) -> None:
        from billing import audit

        audit.register()
