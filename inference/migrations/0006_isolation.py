from typing import Any

from django.conf import settings
from django.db import migrations, models


def to_their_pool(apps: Any, schema_editor: Any) -> None:
    """Models of tenants that ran on the workers of the models on sale go to the pool of their own."""
    models_of_tenants = apps.get_model("inference", "MLModel").objects.filter(owner__isnull=False, pool="gpu")
    models_of_tenants.update(pool=settings.PRIVATE_MODELS_POOL)


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0005_measurement"),
    ]

    operations = [
        migrations.AddField(
            model_name="modelversion",
            name="breaches",
            field=models.PositiveSmallIntegerField(
                default=0,
                editable=False,
                help_text="How often a tenant's version took more time or memory than it may.",
            ),
        ),
        migrations.RunPython(to_their_pool, migrations.RunPython.noop),
    ]
