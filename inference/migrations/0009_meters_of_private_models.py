"""What private models were metered, priced, limited and scheduled as gets the tenant's name before it: ``acme/reviews``.

In batches, each a transaction of its own, so that a ledger of years locks nothing for long; what was begun and broken off is
done by the next run. Backwards the names are taken off again, unless two models share one by then.
"""

from collections.abc import Iterator
from typing import Any, Final

from django.db import IntegrityError, migrations, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce

BATCH: Final = 1000
_SUMS: Final = {"BigIntegerField", "PositiveBigIntegerField"}
_LATEST: Final = {"DateTimeField"}


def to_qualified(apps: Any, schema_editor: Any) -> None:
    versions = apps.get_model("inference", "ModelVersion").objects.filter(ready_since__isnull=True)
    # Of a retired one nothing says that it was ready, but an error that it never was.
    ready = Q(state__in=("ready", "live")) | Q(live_since__isnull=False) | Q(state="retired", load_error="")
    versions.filter(ready).update(ready_since=Coalesce(F("live_since"), F("created_at")))
    for owner_id, slug, name in _private(apps):
        _rename(apps, owner_id, name, f"{slug}/{name}")


def to_plain(apps: Any, schema_editor: Any) -> None:
    names = list(apps.get_model("inference", "MLModel").objects.values_list("name", flat=True))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RuntimeError(
            f"Before namespaces a name belonged to one model, and several are called {', '.join(twice)}: rename all but one of "
            "each, and its meters, first. Nothing was changed."
        )
    for owner_id, slug, name in _private(apps):
        _rename(apps, owner_id, f"{slug}/{name}", name)


def _private(apps: Any) -> list[tuple[int, str, str]]:
    rows = apps.get_model("inference", "MLModel").objects.filter(owner__isnull=False)
    return list(rows.values_list("owner_id", "owner__slug", "name"))


def _rename(apps: Any, owner_id: int, old: str, new: str) -> None:
    for name in ("UsageRecord", "UsageRollup", "VersionUse"):
        for rows in _batches(apps.get_model("billing", name).objects.filter(tenant_id=owner_id, model=old)):
            _move(rows, new)
    with transaction.atomic():
        for name in ("Price", "LimitRule"):
            apps.get_model("billing", name).objects.filter(model=old).update(model=new)
        _rename_versions(apps.get_model("tenants", "DeprecationSchedule").objects, "subject", old, new)
        _rename_versions(apps.get_model("tenants", "DeprecationSchedule").objects, "successor", old, new)
        _rename_versions(apps.get_model("inference", "CallSample").objects, "subject", old, new)


def _rename_versions(manager: Any, column: str, old: str, new: str) -> None:
    for row in manager.filter(**{f"{column}__startswith": f"{old}@"}).iterator():
        setattr(row, column, f"{new}@{getattr(row, column).partition('@')[2]}")
        row.save(update_fields=[column])


def _batches(rows: Any) -> Iterator[Any]:
    """The rows in the order of their keys, so that none is looked for among those that are done."""
    last = None
    while keys := list((rows if last is None else rows.filter(pk__gt=last)).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        yield rows.model.objects.filter(pk__in=keys)
        last = keys[-1]


def _move(rows: Any, new: str) -> None:
    try:
        with transaction.atomic():
            rows.update(model=new)
    except IntegrityError:
        # Sums of the same day under both names, such as of calls that came while the product was changed.
        with transaction.atomic():
            for row in rows:
                _add(row, new)


def _add(row: Any, new: str) -> None:
    fields = [field for field in row._meta.concrete_fields if not field.primary_key and field.name != "model"]
    kinds = {field.attname: field.get_internal_type() for field in fields}
    same = {name: getattr(row, name) for name, kind in kinds.items() if kind not in _SUMS | _LATEST}
    other = row._meta.model.objects.filter(**same, model=new).first()
    if other is None:
        row.model = new
        row.save(update_fields=["model"])
        return
    for name, kind in kinds.items():
        if kind in _SUMS:
            setattr(other, name, getattr(other, name) + getattr(row, name))
        elif kind in _LATEST:
            setattr(other, name, max(getattr(other, name), getattr(row, name)))
    other.save()
    row.delete()


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("inference", "0008_ready_since"),
        ("tenants", "0007_namespaces"),
        ("billing", "0009_void_counts"),
    ]

    operations = [migrations.RunPython(to_qualified, to_plain)]
