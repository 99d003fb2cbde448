"""Whose models a key with ``models:write`` may manage: its tenant's private ones, and for operators all."""

from inference.models import MLModel, ModelVersion
from inference.registry import names, versions
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import Caller


def model_of(caller: Caller, name: str) -> MLModel:
    """The model that the caller manages: its own of this name, else one on sale. To operators a plain name is that of one on
    sale, as where they push, and only then their own; ``acme~reviews``, or ``acme/reviews``, is that of the tenant acme.

    Raises NOT_FOUND for one that the caller does not see, be it another tenant's or not there at all, and FORBIDDEN for one
    that it sees and does not own.
    """
    of_tenant = names.of_address(name)
    if not caller.may_use(names.model_of(of_tenant)) or not can_be_asked(name):
        raise versions.not_found(name)
    namespace = of_tenant.rpartition(names.SEPARATOR)[0]
    if namespace:
        model = names.model(of_tenant) if caller.operator or namespace == caller.tenant_slug else None
        if model is None:
            raise versions.not_found(name)
        return model
    rows = MLModel.objects.select_related("owner").filter(name=name)
    own, on_sale = rows.filter(owner_id=caller.tenant_id).first(), rows.filter(owner__isnull=True).first()
    model = (on_sale or own) if caller.operator else (own or on_sale)
    if model is None:
        raise versions.not_found(name)
    if caller.operator or model.owner_id == caller.tenant_id:
        return model
    if not any(ref.name == name for ref in versions.answering(tenant_id=caller.tenant_id)):
        raise versions.not_found(name)
    raise PlatformError(
        ErrorKind.FORBIDDEN,
        f"The model {name!r} is not your tenant's: only who runs the platform manages its versions.",
    )


def version_of(model: MLModel, version: str) -> ModelVersion:
    """One of its versions, whatever its state. Raises NOT_FOUND that names the field ``version``."""
    rows = ModelVersion.objects.select_related("model__owner")
    row = rows.filter(model=model, version=version).first() if can_be_asked(version) else None
    if row is None:
        raise PlatformError(
            ErrorKind.NOT_FOUND, f"There is no version {version[:64]!r} of the model {model.name!r}.", field="version"
        )
    return row


def can_be_asked(name: str) -> bool:
    """Whether SQL can be asked for a name that a path has: PostgreSQL fails on a NUL, which no row has."""
    return "\x00" not in name
