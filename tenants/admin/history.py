"""The history of a row: what was changed of it, and of every audited row that belongs to it, deleted ones too.

What belongs to a row follows from the foreign keys of models that are audited: to the row itself, such as a tenant's keys and
members, or to a row that belongs to it, such as the secrets of those keys.
"""

from collections.abc import Iterator
from typing import Any

from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, Q

PARAMETER = "about"


def address_of(row: type[Model], pk: object) -> str:
    """How a row is named in the address of its history: ``tenants.tenant:5``."""
    return f"{row._meta.label_lower}:{pk}"


def row_at(address: str) -> Model | None:
    """The row that is named so; None for what is none, or is not audited."""
    label, _, pk = address.partition(":")
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        return None
    if not auditlog.contains(model) or not pk.isdigit() or len(pk) > 18:
        return None
    found: Model | None = model._default_manager.filter(pk=pk).first()
    return found


def entries_about(row: Model) -> Q:
    """The condition for entries of the audit log. One query reads what was deleted; the rest is part of the list's own."""
    own = Q(content_type=ContentType.objects.get_for_model(type(row)), object_id=row.pk)
    removed = Q()
    for model, paths in _belonging(type(row)).items():
        kind = ContentType.objects.get_for_model(model)
        there = Q()
        for path in paths:
            there |= Q(**{path: row.pk})
            if "__" not in path:
                removed |= Q(**{"content_type": kind, f"changes__{path}__0": str(row.pk)})
        own |= Q(content_type=kind, object_id__in=model._default_manager.filter(there).order_by().values("pk"))
    return own | _deleted(removed)


def _deleted(removed: Q) -> Q:
    """Entries of rows that are gone: the entry of a deletion tells to whom the row belonged."""
    if not removed:
        return Q()
    gone: dict[int, list[int | None]] = {}
    # First what costs nothing to look at: to read the JSON of every entry takes half a second where there are 300,000.
    rows = LogEntry.objects.filter(action=LogEntry.Action.DELETE).filter(removed).order_by()
    for kind, pk in rows.values_list("content_type_id", "object_id"):
        gone.setdefault(kind, []).append(pk)
    found = Q()
    for kind, pks in gone.items():
        found |= Q(content_type_id=kind, object_id__in=pks)
    return found


def _belonging(model: type[Model]) -> dict[type[Model], list[str]]:
    """Audited models with the paths of foreign keys by which their rows belong to one of ``model``."""
    found: dict[type[Model], list[str]] = {}
    for child, name in _children(model):
        found.setdefault(child, []).append(name)
        for grandchild, its_name in _children(child):
            if grandchild is not model:
                found.setdefault(grandchild, []).append(f"{its_name}__{name}")
    return found


def _children(model: type[Model]) -> Iterator[tuple[type[Model], str]]:
    """Who made or approved a row is no owner of it: such keys have no way back (``related_name="+"``), so they are not here."""
    for relation in model._meta.related_objects:
        child: Any = relation.related_model
        if auditlog.contains(child):
            yield child, relation.field.name
