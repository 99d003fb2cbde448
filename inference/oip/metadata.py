"""What the protocol tells of the server and of a model: names, versions, and the tensors that go in and out."""

from dataclasses import dataclass
from typing import Final

from django.db import DatabaseError, connection

from inference.fleet import workers
from inference.oip import outputs
from inference.oip.inferring import reference
from inference.oip.tensors import BYTES, FP32, expected
from inference.registry import versions as model_versions
from inference.types import ModelRef
from mlplatform.lib import redis
from tenants.authentication import Caller

SERVER: Final = "mlplatform"
SERVER_VERSION: Final = "2"  # the newest API version of the product, whose models these are
EXTENSIONS: Final = ("binary_tensor_data", "classification", "parameters")
SCOPE: Final = "models:read"
ANY: Final = -1


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor of a model; -1 in ``shape`` is any number: of rows, and of labels where ``top_k`` may ask for fewer."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model: ``versions`` are those that answer, oldest first; ``labels`` is empty for an embedding. ``max_tokens`` is how many
    tokens of a text are read, None for what has none; only HTTP has room for the last two."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    labels: tuple[str, ...]
    max_tokens: int | None


def find(caller: Caller, model: str, version: str) -> ModelRef:
    """The version that would answer. Raises NOT_FOUND, as well for what the key may not use."""
    name = reference(model, version)
    ref = model_versions.resolve(name, tenant_id=caller.tenant_id)
    if not caller.may_use(ref.name):
        raise model_versions.not_found(name)
    return ref


def describe(ref: ModelRef) -> ModelInfo:
    """Raises INVALID_INPUT for a model whose input no tensor can say."""
    want = expected(ref)
    return ModelInfo(
        name=ref.name,
        versions=tuple(
            one.version for one in model_versions.answering(tenant_id=ref.owner_id) if _same_model(one, ref)
        ),
        platform=f"{SERVER}_{ref.runtime.replace('-', '_')}",
        inputs=(TensorInfo(want.name, want.datatype, (ANY, *want.shape)),),
        outputs=tuple(_output(name, ref) for name in outputs.names(ref)),
        labels=ref.labels,
        max_tokens=ref.max_tokens,
    )


def _same_model(one: ModelRef, other: ModelRef) -> bool:
    return one.qualified_name == other.qualified_name


def is_ready() -> bool:
    """Whether predictions can be answered now: SQL and the state Redis are there, and a worker takes batches."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return any(info.computes and not info.draining for info in workers.alive())
    except (DatabaseError, *redis.FAILURES):
        return False


def _output(name: str, ref: ModelRef) -> TensorInfo:
    if ref.is_embedding:
        return TensorInfo(name, FP32, (ANY, ref.outputs))
    return TensorInfo(name, BYTES if name == outputs.LABELS else FP32, (ANY, ANY))
