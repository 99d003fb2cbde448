"""One ModelInfer call, the same over HTTP and gRPC: from tensors to the tensors of the answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from django.conf import settings

from billing.models import Operation
from inference.calls import all_or_nothing
from inference.calls.all_or_nothing import WholeAnswer
from inference.inputs import truncation
from inference.oip import outputs, tensors
from inference.oip.outputs import Output, Wanted
from inference.oip.parameters import CallParameters
from inference.oip.tensors import Tensor
from inference.types import CallContext, PredictRequest
from tenants.authentication import Caller

API_VERSION = "oip"


@dataclass(frozen=True, slots=True)
class Asked:
    """A call as a face parsed it. ``model`` is a name or ``name@version``; ``wanted`` is empty for all outputs.

    ``binary`` is the form of outputs where neither the call nor the output says one.
    """

    model: str
    id: str
    inputs: Sequence[Tensor]
    wanted: Sequence[Wanted]
    parameters: CallParameters
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Inferred:
    """The answer: which version gave it, its outputs in the order asked for, and what the call cost."""

    model: str
    version: str
    outputs: list[Output]
    answer: WholeAnswer

    @property
    def parameters(self) -> dict[str, int | bool | str]:
        """What the answer says beside its tensors; ``truncated`` tells of texts that were cut by row, as the header of other
        faces does."""
        said: dict[str, int | bool | str] = {"units": self.answer.units, "cached": self.answer.cached}
        cut = self.answer.truncation_headers()
        if cut:
            said["truncated"] = cut[truncation.HEADER]
        return said


def reference(model: str, version: str) -> str:
    """How the product names a version of a model; without one, the model stands for its live version."""
    return f"{model}@{version}" if version else model


def infer(caller: Caller, asked: Asked, *, request_id: str, context: Callable[[Operation], CallContext]) -> Inferred:
    """Answer every row, or raise the first problem. Nothing is admitted before all of the call is found good."""
    ref = all_or_nothing.resolve(caller, asked.model, request_id=request_id)
    rows = tensors.rows(asked.inputs, ref, most=settings.MAX_BATCH_REQUESTS)
    outputs.check(asked.wanted, ref)
    requests = [
        PredictRequest(
            model=asked.model,
            input=row.value,
            top_k=asked.parameters.top_k,
            field=row.field,
            truncate=asked.parameters.truncate,
            resolved=ref,
        )
        for row in rows
    ]
    about = context(all_or_nothing.operation(len(requests)))
    if asked.parameters.timeout_s is not None:
        about = replace(about, timeout_s=min(about.timeout_s, asked.parameters.timeout_s))
    answer = all_or_nothing.predict_whole(caller, requests, about)
    binary = asked.binary if asked.parameters.binary_output is None else asked.parameters.binary_output
    first = answer.results[0]
    made = outputs.of(answer.results, ref, asked.wanted, binary=binary)
    return Inferred(first.model, first.model_version, made, answer)
