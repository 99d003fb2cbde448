"""What models are called: by the plain name in a call, by the qualified name on meters, in schedules and in reports.

A model on sale is ``sentiment`` everywhere. The private model of a tenant has a name in the tenant's own namespace: its calls
name ``sentiment``, and everything that many tenants share names ``acme/sentiment``, after the tenant's slug, which never changes.
"""

from typing import Any, Final

from django.db.models import Case, CharField, F, Q, QuerySet, Value, When
from django.db.models.functions import Concat

from inference.models import MLModel, ModelVersion

SEPARATOR: Final = "/"
MAX_QUALIFIED: Final = 127
"""A slug, the separator, and a name of 63 characters each."""
_IN_ADDRESS: Final = "~"


def qualified(name: str, *, namespace: str = "") -> str:
    """``name``, or ``namespace/name``."""
    return f"{namespace}{SEPARATOR}{name}" if namespace else name


def plain(name: str) -> str:
    """The part that a call of the owner names; a version behind it stays."""
    return name.rpartition(SEPARATOR)[2]


def model_of(name: str) -> str:
    """The plain name of the model in ``name``, ``name@version``, or either with a tenant before it: what a key's list of allowed
    models has."""
    return plain(name.partition("@")[0])


def in_address(name: str) -> str:
    """As one segment of an address: ``acme~sentiment``."""
    return name.replace(SEPARATOR, _IN_ADDRESS)


def of_address(segment: str) -> str:
    """The name that a segment of an address says."""
    return segment.replace(_IN_ADDRESS, SEPARATOR)


def is_named(name: str, *, of: str = "") -> Q:
    """The condition that a row is, or by ``of`` belongs to, the model of this qualified name."""
    namespace, _, own = name.rpartition(SEPARATOR)
    prefix = f"{of}__" if of else ""
    owner: dict[str, Any] = {f"{prefix}owner__slug": namespace} if namespace else {f"{prefix}owner__isnull": True}
    return Q(**{f"{prefix}name": own}, **owner)


def sql(*, of: str = "") -> Case:
    """The qualified name as an expression of SQL."""
    prefix = f"{of}__" if of else ""
    name = F(f"{prefix}name")
    return Case(
        When(**{f"{prefix}owner__isnull": True}, then=name),
        default=Concat(F(f"{prefix}owner__slug"), Value(SEPARATOR), name),
        output_field=CharField(),
    )


def model(name: str) -> MLModel | None:
    """The model of a qualified name."""
    return MLModel.objects.select_related("owner").filter(is_named(name)).first()


def version(reference: str) -> ModelVersion | None:
    """The version of ``qualified name@version``."""
    name, _, number = reference.partition("@")
    return versions().filter(is_named(name, of="model"), version=number).first()


def versions() -> QuerySet[ModelVersion]:
    """Every version, with what its name needs."""
    return ModelVersion.objects.select_related("model__owner")


def namesakes(name: str) -> list[str]:
    """The qualified names of tenants' models that are called as a model on sale: for their owners theirs answers."""
    rows = MLModel.objects.select_related("owner").filter(name=name, owner__isnull=False).order_by("owner__slug")
    return [row.qualified_name for row in rows]
