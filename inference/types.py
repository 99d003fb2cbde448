"""What faces give to a prediction, and what they get back. Imports neither Django nor numpy: packages are checked with it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self, TypeVar

from mlplatform.lib.cancellation import Cancellation
from tenants.deprecations.rules import Deprecation

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DEFAULT_POOL: Final = "gpu"
"""The workers that compute a model which names no others. A pool is a Celery queue, and has its name."""
PRIVATE: Final = "private"
MAX_TOP_K: Final = 1000
MAX_MODEL_CHARS: Final = 130
"""Of what a call names: a model, or one of its versions."""
REFUSE: Final = 0
"""A text may not be cut: it is read whole, or refused."""
TO_LIMIT: Final = -1
"""What is beyond the model's limit may be dropped. A number above 0: what is beyond so many tokens."""
SEMANTIC_VERSION: Final = r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(-[0-9A-Za-z.-]{1,32})?"
_SCORE_DIGITS: Final = 6


class Choice(StrEnum):
    """A value that is stored and sent, with the words that forms show for it."""

    label: str

    def __new__(cls, value: str, label: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.label = label
        return member

    @classmethod
    def values(cls) -> list[str]:
        """The plain values, in the order of their declaration."""
        return [member.value for member in cls]

    @classmethod
    def choices(cls) -> list[tuple[str, str]]:
        """The pairs that a field of Django's takes."""
        return [(member.value, member.label) for member in cls]


class RuntimeName(Choice):
    """How a model computes; the first word is the kind of its inputs."""

    TEXT_CLASSIFICATION = "text-classification", "Text classification"
    TEXT_EMBEDDING = "text-embedding", "Text embedding"
    TENSOR_CLASSIFICATION = "tensor-classification", "Image or tensor classification"
    TENSOR_SCORING = "tensor-scoring", "Scoring of candidates"
    TENSOR_ECHO = "tensor-echo", "Echo, for load tests"
    IMAGE_CLASSIFICATION = "image-classification", "Image classification"
    PAIR_CLASSIFICATION = "pair-classification", "Classification of pairs of texts"
    PAIR_SCORING = "pair-scoring", "Reranking: how well a text fits another"


class Precision(Choice):
    """In what numbers a version computes. ``int8`` is dynamic quantisation of linear layers, on a processor only."""

    FLOAT32 = "float32", "float32"
    BFLOAT16 = "bfloat16", "bfloat16"
    FLOAT16 = "float16", "float16 (GPU)"
    INT8 = "int8", "dynamic int8 (CPU)"


class Acceleration(Choice):
    """What is done to the loaded network before it serves."""

    NONE = "none", "None"
    COMPILE = "compile", "torch.compile"
    CUDA_GRAPHS = "cuda-graphs", "CUDA graphs (GPU)"


def metric_label(name: str, *, private: bool) -> str:
    """The label ``model`` of a metric: the model's name, and one word for all models of tenants, which are many and secret."""
    return PRIVATE if private else name


class TextLength(NamedTuple):
    """How many tokens an input has, and how many of them are read at most, where those are fewer."""

    tokens: int
    max_tokens: int

    def as_json(self) -> dict[str, int]:
        return {"tokens": self.tokens, "max_tokens": self.max_tokens}


class Priority(IntEnum):
    """Which of several queued inputs is computed first: those of calls that wait for an answer, before background work."""

    INTERACTIVE = 0
    BACKGROUND = 1


class Aged(Protocol):
    """What knows how old it is."""

    def age_s(self) -> int: ...


E = TypeVar("E", bound=Aged)


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What the call's ``Cache-Control`` says; see ``inference.calls.cache_control``.

    Without ``read`` the input must be computed anew, without ``write`` its answer must not be kept. An answer that is older
    than ``max_age_s`` seconds does not do; ``only_if_cached``: nothing may be computed.
    """

    read: bool = True
    write: bool = True
    max_age_s: int | None = None
    only_if_cached: bool = False

    def fresh(self, entry: E | None) -> E | None:
        """The entry, unless it is older than the call wants."""
        if entry is None or self.max_age_s is None or entry.age_s() <= self.max_age_s:
            return entry
        return None


@dataclass(frozen=True, slots=True)
class FlatTensor:
    """Numbers in row-major order whose shape the model knows: what binary protocols send. float32 of one dimension."""

    values: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image as it lies in a file: PNG, JPEG or WebP."""

    data: bytes


@dataclass(frozen=True, slots=True)
class TextPair:
    """Two texts that a model reads together: a query and a passage, a premise and a hypothesis."""

    text: str
    pair: str


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """One input for one model, as a face parsed it.

    ``model`` is a name, ``name@version``, or empty for the tenant's default. ``input`` is text, a nested list of
    numbers, a float32 array, a :class:`FlatTensor`, an :class:`ImageFile` or a :class:`TextPair`; the model's schema
    decides. ``top_k`` limits the labels of a classification. ``labels_only`` refuses a model that answers with an
    embedding. ``path`` stands before the names of fields in errors, such as ``requests[2].``, and ``field`` is what the face
    calls the input. ``call_id`` is the request id of an input that is a call of its own among several that came together;
    empty: the call's. ``truncate`` is whether a text longer than the model reads may be cut.
    """

    model: str
    input: Any
    top_k: int | None = None
    labels_only: bool = False
    path: str = ""
    field: str = "input"
    call_id: str = ""
    truncate: int = REFUSE
    resolved: ModelRef | None = None
    """What ``model`` stood for when the face read the input by its schema: a promotion must not come in between."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """What is true of a call as a whole, whatever number of inputs it has. ``timeout_s`` is the caller's deadline.

    ``api_version`` is that of REST, or the name of the protocol: ``graphql``, ``grpc``, ``oip``, ``openai``.
    """

    request_id: str
    operation: str
    api_version: str
    client: str = ""
    timeout_s: float = 30.0
    cache: CachePolicy = field(default_factory=CachePolicy)
    cancellation: Cancellation | None = None
    priority: Priority = Priority.INTERACTIVE
    holds_thread: bool = True
    """Whether a thread waits for the answer, of which a process has few; a stream's inputs share one."""
    free: bool = False
    """Whether the platform pays: inputs cost nothing and count for no limit. They stand in the ledger with 0 units and calls."""


@dataclass(frozen=True, slots=True)
class MeasuredOption:
    """How good and how fast a version is in one precision and acceleration, on one device with so many threads.

    ``accuracy`` is the share of right answers, 0 to 1, on so many ``inputs``, which ``data`` describes; ``inputs_per_s`` is of
    full batches and ``alone_ms`` of one input alone, both of the model without the service around it.
    """

    precision: str
    acceleration: str
    device: str
    threads: int
    accuracy: float
    inputs: int
    data: str
    inputs_per_s: float
    alone_ms: float
    measured_at: dt.datetime


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A resolved model version: everything that serving needs, read from memory.

    ``outputs`` is the number of scores or dimensions; ``digest`` is the artefact's SHA-256; ``state`` is ready or live.
    """

    version_id: int
    name: str
    version: str
    runtime: str
    digest: str
    outputs: int
    labels: tuple[str, ...]
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    max_batch_size: int
    cache_ttl_s: int
    shared_cache: bool
    cache_epoch: int
    live: bool
    pool: str = DEFAULT_POOL
    owner_id: int | None = None
    max_batch_tokens: int = 0
    max_queue_delay_s: float = 0.0
    title: str = ""
    description: str = ""
    accuracy: float | None = None
    accuracy_note: str = ""
    precision: str = Precision.FLOAT32.value
    acceleration: str = Acceleration.NONE.value
    measurements: tuple[MeasuredOption, ...] = ()
    namespace: str = ""
    """The owner's slug, of a private model."""
    batch_limit_s: float = 0.0
    """So long a batch may take by its limits, so that it counts as lost no sooner; 0 for a model without limits."""

    @property
    def reads_text(self) -> bool:
        """Whether its inputs have tokens: a text, or two."""
        return self.input_schema["kind"] in {"text", "pair"}

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text are read at most; None for what has no tokens, and while no worker has told it."""
        return self.input_schema.get("max_tokens")

    @property
    def qualified_name(self) -> str:
        """What meters, schedules and reports call the model; see ``inference.registry.names``."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def qualified_reference(self) -> str:
        """The same with the version: ``tenant/name@version`` of a private model."""
        return f"{self.qualified_name}@{self.version}"

    @property
    def is_embedding(self) -> bool:
        """Whether it answers with a vector: an embedding, or scores of candidates."""
        return not self.labels

    @property
    def vector_name(self) -> str:
        """What the vector of a model without labels is: ``embedding`` or ``scores``."""
        return "scores" if self.output_schema.get("kind") == "scores" else "embedding"


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label with its probability, 0 to 1. ``score`` is the model's own float32, which binary protocols give; what is written
    as decimal digits says ``rounded``."""

    label: str
    score: float
    rounded: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rounded", round(self.score, _SCORE_DIGITS))


@dataclass(frozen=True, slots=True)
class PredictResult:
    """One answer. Either ``predictions`` (best first) or ``embedding`` is set, the latter
    float32 of one dimension; ``vector_name`` says what it is, ``embedding`` or ``scores``. ``age_s`` is 0 unless cached."""

    id: str
    model: str
    model_version: str
    predictions: Sequence[LabelScore] | None
    embedding: npt.NDArray[np.float32] | None
    units: int
    cached: bool
    age_s: int
    latency_ms: float
    deprecation: Deprecation | None = None
    """Of the model version, where the call pinned one that ends."""
    vector_name: str = "embedding"
    truncated: TextLength | None = None
    """Set where the text was longer than the model reads, and cut."""
