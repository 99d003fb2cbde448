"""Guides drafted before name a sign of arrival that every caller of an announced version saw at once: no `Deprecation` header."""

import re

from django.db import migrations

DRAFTED = re.compile(r"3\. Watch the headers of your answers: once you see no `Deprecation` any more, you have arrived\.")
TRUE = (
    "3. Watch the headers of your answers: once the end of {old} is announced, all answers of {old} carry `Sunset` and `Link`. "
    "Answers of {new} tell `API-Version: {new}`: when all of yours do, you have arrived."
)


def name_a_true_sign(apps, schema_editor):
    schedules = apps.get_model("tenants", "DeprecationSchedule")
    for row in schedules.objects.filter(kind="api_version", guide__contains="once you see no `Deprecation` any more"):
        sign = TRUE.format(old=row.subject, new=row.successor)
        row.guide = DRAFTED.sub(lambda _: sign, row.guide)
        row.save(update_fields=["guide"])


class Migration(migrations.Migration):
    dependencies = [("tenants", "0007_namespaces")]
    operations = [migrations.RunPython(name_a_true_sign, migrations.RunPython.noop)]
