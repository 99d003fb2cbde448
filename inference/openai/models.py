"""``GET …/models``: the models that turn text into a vector, as OpenAI's API lists models."""

from typing import Any, Final

from inference.models import ModelVersion
from inference.registry import versions
from inference.types import ModelRef
from tenants.authentication import Caller

_OWNER: Final = "mlplatform"


def embeds_text(ref: ModelRef) -> bool:
    """Whether the version takes text and answers with a vector."""
    return ref.input_schema["kind"] == "text" and ref.output_schema.get("kind") == "embedding"


def names(caller: Caller) -> list[str]:
    """The models that the key may use here, by the name that stands for their live version."""
    return [ref.name for ref in _usable(caller)]


def listed(caller: Caller) -> dict[str, Any]:
    """Every such model."""
    refs = _usable(caller)
    created = _created(*refs)
    return {"object": "list", "data": [_model(ref.name, created[ref.version_id]) for ref in refs]}


def one(caller: Caller, name: str) -> dict[str, Any]:
    """One of them, by ``name`` or ``name@version``. Raises NOT_FOUND for others too, whatever they are."""
    ref = versions.resolve(name, tenant_id=caller.tenant_id)
    if not caller.may_use(ref.name) or not embeds_text(ref):
        raise versions.not_found(name)
    return _model(name, _created(ref)[ref.version_id])


def _usable(caller: Caller) -> list[ModelRef]:
    refs = versions.answering(tenant_id=caller.tenant_id)
    return [ref for ref in refs if ref.live and caller.may_use(ref.name) and embeds_text(ref)]


def _created(*refs: ModelRef) -> dict[int, int]:
    """When the versions were registered, in unix seconds."""
    rows = ModelVersion.objects.filter(pk__in=[ref.version_id for ref in refs]).values_list("pk", "created_at")
    return {key: int(created_at.timestamp()) for key, created_at in rows}


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": _OWNER}
