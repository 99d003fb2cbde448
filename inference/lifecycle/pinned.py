"""What ends of the model versions that a call pinned, where a refusal leaves no result that says it."""

from collections.abc import Sequence

from inference.types import PredictRequest
from tenants.authentication import Caller
from tenants.lifecycle import catalogue
from tenants.lifecycle.rules import Deprecation, Ended


def endings_of(caller: Caller, wanted: Sequence[PredictRequest], *, call_id: str) -> tuple[Deprecation, ...]:
    """Looked up anew, each once, in the order of the call."""
    found: dict[Deprecation, None] = {}
    for request in wanted:
        name = request.model or caller.default_model
        if "@" not in name or not caller.may_use(name.partition("@")[0]):
            continue
        try:
            deprecation = catalogue.judge_model_version(
                name, tenant_id=caller.tenant_id, call_id=call_id, field=f"{request.path}model"
            )
        except Ended as error:
            deprecation = error.deprecation
        if deprecation is not None:
            found[deprecation] = None
    return tuple(found)
